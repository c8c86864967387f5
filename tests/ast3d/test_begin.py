"""The first lines of ast3d: who begins, and when.  What it would become is cut off."""

import json
import os
import subprocess
import sys
import threading

import pytest

from ast3d import begin
from ast3d.common.clock import boot_id, boottime
from protectd import files, starts
from protectd.handshake import Hand

LOCKED = (
    "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
)


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


@pytest.fixture
def first(run):
    """-> what the first lines come to: None is to begin."""

    def call(*words):
        return begin.wait_for_turn(begin.parse(["--root", str(run.parent), *words]), run)

    return call


@pytest.fixture
def locked():
    """Have another process hold a lock."""
    running = []

    def lock(path):
        process = subprocess.Popen([sys.executable, "-c", LOCKED, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        running.append(process)
        process.stdout.readline()
        return process.pid

    yield lock
    for process in running:
        process.kill()
        process.communicate()


def remember(run, failed, ago):
    starts.write(run / "ast3d.starts", starts.Starts(failed, boottime() - ago), boot_id())


def stop(run):
    files.replace(run / "stopped", {"boot": boot_id()})


def remembered(run):
    return starts.read(run / "ast3d.starts", boot_id())


def test_it_begins_at_once_and_remembers_that(run, first, capsys):
    assert first() is None
    assert remembered(run).failed == 1
    assert capsys.readouterr() == ("", "")


def test_the_run_folder_is_made(run, first):
    run.rmdir()
    assert first() is None
    assert run.stat().st_mode & 0o777 == 0o755


def test_after_starts_that_failed_it_waits_and_says_so(run, first, capsys):
    peer = Hand(run, "protectd")
    assert peer.listen()
    remember(run, 1, ago=0.7)
    before = boottime()
    assert first() is None
    assert 0.2 < boottime() - before < 2
    assert remembered(run).failed == 2
    (message,) = peer.receive()
    peer.close()
    assert (message.sender, message.pid, message.says) == ("ast3d", os.getpid(), "backing off")
    assert before < message.until < before + 1
    assert capsys.readouterr().err.startswith("ast3d: the last starts failed; it begins in 0.")


def test_a_stop_on_purpose_ends_the_wait(run, first, monkeypatch, capsys):
    remember(run, 9, ago=0)
    monkeypatch.setattr(begin, "SPEAK_SECONDS", 0.05)
    threading.Timer(0.2, stop, [run]).start()
    assert first() == 80
    assert "stopped on purpose" in capsys.readouterr().err
    assert remembered(run).failed == 9


def test_who_starts_it_again_respects_a_stop_on_purpose(run, first):
    stop(run)
    assert first("--again") == 80
    assert (run / "stopped").exists()


def test_any_other_start_is_on_purpose_and_ends_that(run, first):
    stop(run)
    assert first() is None
    assert not (run / "stopped").exists()


def test_a_stop_in_an_earlier_boot_says_nothing(run, first):
    files.replace(run / "stopped", {"boot": "another"})
    assert first("--again") is None


def test_one_begins_at_a_time(run, first, locked, capsys):
    pid = locked(run / "ast3d.begin")
    assert first() == 1
    said = f"ast3d: ast3d runs here already, pid {pid}; `ast3ctl status` asks it how it is\n"
    assert capsys.readouterr().err == said
    assert not (run / "ast3d.starts").exists()  # nothing failed


def test_one_that_runs_is_found_by_what_it_left(run, first, locked, capsys):
    pid = locked(run.parent / "lock")
    (run / "ast3d.json").write_text(json.dumps({"root": str(run.parent.resolve()), "lock": str(run.parent / "lock")}))
    assert first("--again") == 1
    assert f"pid {pid};" in capsys.readouterr().err


def test_as_a_unit_a_start_beside_another_counts_so_that_it_is_not_tried_without_end(run, first, locked, monkeypatch):
    monkeypatch.setattr("protectd.systemd.is_unit", lambda _name: True)
    locked(run / "ast3d.begin")
    assert first() is None
    assert remembered(run).failed == 1


def test_by_hand_on_a_terminal_it_begins_at_once(run, first, monkeypatch):
    remember(run, 9, ago=0)
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: PTH123, SIM115
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert first() is None
    assert remembered(run).failed == 1


@pytest.mark.parametrize(
    "told", [b"", b"{", b"[1]", b'{"lock": 7}', b'{"lock": "\\u0000"}', b'{"lock": "/none/x"}', b"\xff"]
)
def test_damage_keeps_it_from_nothing(run, first, told):
    mine = json.dumps({"root": str(run.parent.resolve())}).encode()[:-1] + b", "
    for name in ("ast3d.json", "ast3d.starts"):
        (run / name).write_bytes(told.replace(b"{", mine, 1) if len(told) > 1 else told)
    assert first() is None


@pytest.mark.parametrize("name", ["stopped", "ast3d.begin", "ast3d.starts", "ast3d.json"])
def test_a_folder_in_the_place_of_a_file_keeps_it_from_nothing(run, first, name):
    (run / name).mkdir()
    status = first()
    assert status == (80 if name == "stopped" else None)


def test_a_file_in_the_place_of_the_run_folder_is_for_ast3d_to_tell(run, first):
    run.rmdir()
    run.touch()
    assert first() is None


@pytest.mark.parametrize("words", [["--help"], ["--version"]])
def test_questions_are_answered_without_waiting(run, words):
    remember(run, 9, ago=0)
    done = subprocess.run([sys.executable, "-m", "ast3d", "--root", run.parent, *words], capture_output=True, timeout=20)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout
    assert remembered(run).failed == 9


def test_what_is_loaded_before_a_start_is_counted_needs_no_library():
    script = "import ast3d.begin, sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert not {"structlog", "yaml", "psutil", "numpy", "astropy", "inotify_simple"} & set(modules)
    ours = {m for m in modules if m.startswith("ast3d.")}
    assert ours == {"ast3d.begin", *(f"ast3d.common{m}" for m in ("", ".about", ".clock", ".control_wire", ".run"))}


def test_code_that_cannot_be_loaded_is_a_start_that_failed(run, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "structlog.py").write_text("raise RuntimeError('of a broken update')")
    environment = os.environ | {"PYTHONPATH": f"{broken}:{os.environ.get('PYTHONPATH', '')}"}
    argv = [sys.executable, "-m", "ast3d", "--root", tmp_path, "--foreground", "--again"]
    for times in (1, 2):
        before = boottime()
        done = subprocess.run(argv, capture_output=True, text=True, env=environment, timeout=20)
        assert "of a broken update" in done.stderr
        assert remembered(run).failed == times
    assert boottime() - before > 0.5


def test_the_lock_of_the_first_lines_is_held_as_long_as_the_process_lives(run, first):
    assert first() is None
    script = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    done = subprocess.run([sys.executable, "-c", script, run / "ast3d.begin"], capture_output=True, text=True)
    assert "BlockingIOError" in done.stderr
