"""Files of a live node that are taken away, replaced, damaged, copied, or cannot be written: real processes, no systemd."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from protectd import files, starts
from tests.protect.below import BIN, Below, stays

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")
HOLD = "while [ ! -e @/go ]; do sleep 0.05; done"


@pytest.fixture
def small():
    """Mount a full run folder; it is made empty by `free`."""
    mounted = []

    class Small:
        def __init__(self, run: Path) -> None:
            run.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=755", "none", run], check=True)
            mounted.append(run)
            self.filler = run / "filler"
            with contextlib.suppress(OSError), self.filler.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            assert os.statvfs(run).f_bavail == 0

        def free(self) -> None:
            self.filler.unlink()

    yield Small
    for run in mounted:
        subprocess.run(["umount", "-l", run], check=True)


def test_where_the_control_socket_cannot_be_made_again_ast3d_goes_on_and_makes_it_when_it_can(node):
    one = node()
    before, socket = one.pids(), one.run / "control.sock"
    socket.unlink()
    socket.write_text("in the way")
    one.wait(lambda: "control.deaf" in one.log(), "deaf")
    assert f"ast3d, pid {before[0]}, runs and cannot be asked" in one.ctl("status", code=None)
    assert stays(lambda: one.pids() == before, 1.5)
    socket.unlink()
    one.wait(one.guarded, "heard again")
    assert one.pids() == before
    assert one.log().count("control.deaf") == 1
    assert "daemon.bug" not in one.log()


def test_a_protectd_that_lost_its_lock_is_started_again_and_so_is_one_that_was_asked_to_end(node):
    one = node()
    before = one.pid("protectd")
    (one.run / "protectd.lock").unlink()
    one.wait(lambda: one.pid("protectd") not in {0, before} and one.guarded(), "another")
    before = one.pid("protectd")
    one.kill("protectd", number=signal.SIGTERM)
    one.wait(lambda: one.pid("protectd") not in {0, before} and one.guarded(), "a third")


@as_root
def test_a_full_run_folder_keeps_nobody_down_and_is_said(node, small):
    one = node(start=False)
    full = small(one.run)
    one.ctl("start")
    one.wait(lambda: one.pid("ast3d") and one.status()["state"] == "READY", "READY")
    before = one.pid("ast3d")
    one.kill("ast3d")
    one.wait(lambda: one.pid("ast3d") not in {0, before} and one.status()["state"] == "READY", "READY again")
    full.free()
    one.wait(lambda: files.read(one.run / "ast3d.json").get("generation") == 2, "told how to start it")
    one.wait(one.guarded, "guarded")


def test_a_drain_is_guarded_and_what_is_left_of_it_is_told(node):
    one = node(HOLD)
    one.expose("a.fits")
    one.wait(lambda: one.status()["tasks"]["running"] == 1, "running")
    before = one.pids()
    argv = [BIN / "ast3ctl", "--root", one.root, "stop", "--drain"]
    drain = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    one.wait(lambda: one.status()["state"] == "DRAINING", "draining")
    again = subprocess.run([BIN / "ast3d", "--root", one.root], capture_output=True, text=True)
    assert again.returncode == 1
    assert "runs here already" in again.stderr
    assert (one.run / "stopped").exists()  # a call that failed has not undone it
    assert stays(lambda: one.pids() == before, 1.5)
    one.kill("ast3d", number=signal.SIGSTOP)
    assert drain.wait(60) == 0
    assert "1 workers go on by themselves" in drain.stdout.read()
    assert one.pids() == [0, 0]
    assert "peer.kill" in one.log("protectd")


def test_who_waits_before_its_next_start_is_seen_and_begins_when_an_operator_says_so(node):
    one = node(start=False)
    one.run.mkdir()
    starts.write(one.run / "ast3d.starts", starts.Starts(9, float(Path("/proc/uptime").read_text().split()[0])), boot())
    waiting = subprocess.Popen([BIN / "ast3d", "--root", one.root, "--foreground", "--again"], stderr=subprocess.PIPE)
    one.wait(lambda: "STARTING" in one.ctl("status", code=None), "seen")
    assert f"pid {waiting.pid}, begins, or waits" in one.ctl("status", code=None)
    waiting.send_signal(signal.SIGHUP)
    assert one.ctl("start") == f"started: READY, pid {waiting.pid}\n"
    one.ctl("stop")
    assert waiting.wait(20) == 80
    waiting.stderr.close()


def boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.mark.parametrize("lock", ["state/ast3d.lock", "run/protectd.lock"])
def test_a_damaged_lock_misleads_nobody(node, lock):
    one = node(start=False)
    (one.root / lock).parent.mkdir()
    (one.root / lock).write_text(f"{'9' * 20} {'9' * 30}\n")
    one.start()
    assert (one.root / lock).read_text().endswith(" 1\n")


def test_a_lock_that_is_no_file_is_said_in_a_line_and_in_the_log(node):
    one = node(start=False)
    (one.root / "state").mkdir()
    os.mkfifo(one.root / "state" / "ast3d.lock")
    assert "ast3d.lock: it must be a plain file: move it away" in one.ctl("start", code=1)
    assert "daemon.not-started" in one.log()
    (one.root / "state" / "ast3d.lock").unlink()
    (one.run / "protectd.lock").mkdir()
    one.ctl("start")
    one.wait(lambda: "daemon.not-started" in one.log("protectd"), "said")


def test_a_copy_of_a_node_is_a_node_of_its_own(node, tmp_path):
    one = node()
    copy = tmp_path / "copy"
    shutil.copytree(one.root, copy, ignore=shutil.ignore_patterns("*.sock", "*.hand", "relog"))
    other = Below(tmp_path / "other")
    shutil.rmtree(other.root)
    other.root, other.run = copy, copy / "run"
    try:
        other.start()
        assert not set(one.pids()) & set(other.pids())
        before = other.pid("ast3d")
        other.kill("ast3d")
        other.wait(lambda: other.pid("ast3d") not in {0, before} and other.guarded(), "its own again")
        assert one.guarded()
    finally:
        other.end()


def test_stop_ends_a_protectd_that_is_stopped_and_an_ast3d_that_hangs(node):
    one = node()
    one.kill("protectd", number=signal.SIGSTOP)
    assert one.ctl("stop").startswith("stopped")
    assert one.pids() == [0, 0]
    one.start()
    one.kill("ast3d", number=signal.SIGSTOP)
    assert one.ctl("stop").startswith("stopped")
    assert one.pids() == [0, 0]


def test_a_daemon_that_cannot_hear_says_so_once(node):
    one = node()
    before = one.pids()
    (one.run / "protectd.hand").unlink()
    (one.run / "protectd.hand").mkdir()
    one.wait(lambda: "hand.deaf" in one.log("protectd"), "said")
    (one.run / "protectd.hand").rmdir()
    one.wait(one.guarded, "heard again")
    assert one.log("protectd").count("hand.deaf") == 1
    assert one.pid("ast3d") == before[0]


def test_ensure_waits_for_nobody_who_reads_its_lock_and_installs_nothing(tmp_path):
    (tmp_path / "run").mkdir()
    os.mkfifo(tmp_path / "run" / "ensure.lock")
    files.replace(tmp_path / "run" / "stopped", {"boot": boot()})
    done = subprocess.run([BIN / "ast3ctl", "--root", tmp_path, "ensure"], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    bare = subprocess.run([BIN / "ast3ctl", "ensure"], capture_output=True, text=True, timeout=20)
    if not Path("/run/ast3").is_dir() and not Path("/etc/ast3/ast3d.yaml").is_file():
        assert bare.returncode == 1
        assert "nothing is installed here" in bare.stderr


def test_what_a_message_says_can_be_typed(tmp_path):
    root = tmp_path / "a node's"
    root.mkdir()
    done = subprocess.run([BIN / "ast3ctl", "--root", root, "status", "--json"], capture_output=True, text=True, timeout=20)
    assert "start it with `ast3d --root '" in json.loads(done.stdout)["reasons"][0]
