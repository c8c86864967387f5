"""`ensure`, as cron runs it: a file alone, with a Python that has nothing installed; real processes, without systemd."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ast3ctl import ensure
from ast3ctl.ensure import EnsureError, Look, judge, needs_start
from ast3d.common.clock import boot_id, boottime
from protectd import files
from protectd.proc import start_ticks
from tests.protect.below import NAMES, Below

SOURCE = Path(ensure.__file__)
HOLDER = """
import fcntl, json, os, sys, time
from pathlib import Path
lock, alive, ago, how = sys.argv[1:5]
file = open(lock, "w")
fcntl.lockf(file, fcntl.LOCK_EX)
ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
at = time.clock_gettime(time.CLOCK_BOOTTIME) - float(ago)
Path(alive).write_text(json.dumps({"pid": os.getpid(), "ticks": ticks, "at": at, "boot": boot, "progress": 1}))
print(flush=True)
while how == "spin":
    pass
while how == "turn":
    time.sleep(0.1)
sys.stdin.read()
"""


@pytest.fixture
def copy(tmp_path):
    """The copy that cron runs."""
    return shutil.copy(SOURCE, tmp_path / "ast3-ensure")


@pytest.fixture
def call(copy):
    """-> (exit status, stdout, stderr) of one run."""

    def run(root, *words, python="/usr/bin/python3"):
        argv = [python if Path(python).exists() else sys.executable, "-I", copy, "--root", root, *words]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd="/", env={"PATH": "/usr/bin:/bin"})
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def node(tmp_path):
    one = Below(tmp_path / "node")
    yield one
    one.end()


@pytest.fixture
def empty(tmp_path):
    """The folders, and nobody in them."""
    for name in ("run", "state"):
        (tmp_path / "node" / name).mkdir(parents=True)
    return tmp_path / "node"


@pytest.fixture
def hold(empty):
    """Have a process hold a daemon's lock, which was last alive so long ago, and now does nothing, or as it is told."""
    running = []

    def start(name, ago=100.0, how="sleep"):
        lock = empty / ("state/ast3d.lock" if name == "ast3d" else "run/protectd.lock")
        argv = [sys.executable, "-c", HOLDER, lock, empty / "run" / f"{name}.alive", str(ago), how]
        running.append(process := subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
        process.stdout.readline()
        while how == "sleep" and ensure.look(process.pid).state != "S":  # it has said so and is about to
            time.sleep(0.01)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def programs(tmp_path):
    """A folder with an ast3d and a protectd which only write down how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in NAMES:
        program = folder / name
        program.write_text(f'#!/bin/sh\necho "$(basename "$0") $*" >> {tmp_path}/called\n')
        program.chmod(0o755)
    return folder


def called(tmp_path, count):
    """What was started, when so many have been."""
    path = tmp_path / "called"
    end = time.monotonic() + 20
    while time.monotonic() < end:
        lines = path.read_text().splitlines() if path.exists() else []
        if len(lines) >= count:
            return lines
        time.sleep(0.01)
    raise AssertionError(f"not {count} started")


# --- real daemons


def test_all_is_well_and_nothing_is_said(node, call):
    node.start()
    before = node.pids()
    assert call(node.root) == (0, "", "")
    assert node.pids() == before


def test_both_killed_at_once_are_there_again(node, call):
    node.start()
    before = node.pids()
    files.replace(node.run / "stopped", {"boot": boot_id()})  # so that neither starts the other just then
    node.kill("protectd", "ast3d")
    node.wait(lambda: node.pids() == [0, 0], "killed")
    (node.run / "stopped").unlink()
    assert call(node.root) == (0, "ensure: started ast3d: nobody ran it\n", "")
    node.wait(node.guarded, "guarded")
    assert not set(before) & set(node.pids())
    assert call(node.root) == (0, "", "")


def test_many_at_once_start_one(node, copy):
    node.ctl("start")
    node.ctl("stop")
    (node.run / "stopped").unlink()
    argv = ["/usr/bin/python3", "-I", copy, "--root", node.root]
    many = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(8)]
    said = [process.communicate(timeout=60) for process in many]
    assert [process.returncode for process in many] == [0] * 8
    assert {err for _, err in said} == {""}
    node.wait(node.guarded, "guarded")
    assert node.log().count("daemon.start ") == 2
    assert node.log("protectd").count("daemon.start ") == 2


def test_a_stopped_ast3d_that_nobody_guards_is_replaced(tmp_path, call):
    node = Below(tmp_path / "node", more="protect: {enabled: false}\n")
    try:
        node.ctl("start")
        before = node.pid("ast3d")
        node.kill("ast3d", number=signal.SIGSTOP)
        alive = files.read(node.run / "ast3d.alive")
        assert call(node.root)[1] == "ensure: started protectd: nobody ran it\n"  # it has not been silent long enough
        files.replace(node.run / "ast3d.alive", alive | {"at": alive["at"] - 61})
        assert call(node.root)[1].splitlines()[0] == f"ensure: killed ast3d, pid {before}: it was stopped by a signal"
        node.wait(lambda: node.pid("ast3d") not in {0, before} and node.status()["state"] == "READY", "replaced")
    finally:
        node.end()


def test_an_ast3d_that_answers_is_well_whatever_its_files_say(node, call):
    node.start()
    before = node.pid("ast3d")
    alive = files.read(node.run / "ast3d.alive")
    (node.run / f".ast3d.alive.{before}").mkdir()  # where it would be written
    files.replace(node.run / "ast3d.alive", alive | {"at": alive["at"] - 100})
    assert call(node.root) == (0, "", "")
    assert node.pid("ast3d") == before


# --- what hangs, and what does not


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("how", "verdict"),
    [
        ("sleep", "it slept and nothing woke it"),
        ("spin", "it computed and made no progress"),
        ("stop", "it was stopped by a"),
    ],
)
def test_what_hangs_is_ended_and_started_again(empty, call, hold, programs, tmp_path, name, how, verdict):
    process = hold(name, how=how)
    if how == "stop":
        process.send_signal(signal.SIGSTOP)
    code, out, err = call(empty, "--bin", programs)
    assert (code, err) == (0, "")
    killed = f"ensure: killed {name}, pid {process.pid}: {verdict}"
    assert any(line.startswith(killed) for line in out.splitlines())
    assert process.wait(10) == -signal.SIGKILL
    options = f"--root {empty} --foreground"
    started = {"ast3d": f"ast3d {options} --again", "protectd": f"protectd {options}"}
    assert called(tmp_path, 1)[0] == started["ast3d"]
    assert ("started protectd" in out) is False  # ast3d starts it


@pytest.mark.parametrize(("ago", "how"), [(30, "sleep"), (30, "spin"), (100, "turn")])
def test_what_is_not_silent_long_enough_or_goes_on_is_left(empty, call, hold, ago, how):
    processes = [hold(name, ago, how) for name in NAMES]
    assert call(empty) == (0, "", "")
    assert [process.poll() for process in processes] == [None, None]


def test_a_longer_period_is_waited_for(empty, call, hold):
    processes = [hold(name, ago=170) for name in NAMES]
    told = {"root": os.path.realpath(empty), "protect": {"period_seconds": 60}}
    (empty / "run" / "ast3d.json").write_text(json.dumps(told))
    assert call(empty) == (0, "", "")
    assert [process.poll() for process in processes] == [None, None]


@pytest.mark.parametrize("alive", [b"", b"{", b"[]", b'{"at": "x"}', b'{"pid": 1, "ticks": 1, "at": 0, "boot": "x"}', None])
def test_one_that_began_just_now_is_left_whatever_the_file_says(empty, call, hold, alive):
    processes = [hold(name) for name in NAMES]
    for name in NAMES:
        path = empty / "run" / f"{name}.alive"
        path.unlink()
        if alive is not None:
            path.write_bytes(alive)
    assert call(empty) == (0, "", "")
    assert [process.poll() for process in processes] == [None, None]


def test_one_that_never_said_anything_is_silent_since_it_began():
    mine = (os.getpid(), start_ticks(os.getpid()), 10.0)
    assert ensure.silent_for({}, *mine) == pytest.approx(boottime() - 10.0, abs=0.1)


def test_one_stopped_on_purpose_while_it_is_looked_at_is_left(empty, copy, hold):
    process = hold("ast3d", how="spin")
    argv = [sys.executable, "-I", copy, "--root", empty]
    running = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    files.replace(empty / "run" / "stopped", {"boot": boot_id()})
    assert running.communicate(timeout=30)[0] == ""
    assert process.poll() is None


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        (Look("T", 1, 1, 1), Look("T", 1, 1, 1), "stopped"),
        (Look("t", 1, 1, 1), Look("T", 1, 1, 1), "stopped"),
        (Look("T", 1, 1, 1), Look("S", 1, 2, 1), ""),  # it goes on
        (Look("R", 1, 1, 1), Look("R", 2.9, 9, 9), "computed"),
        (Look("S", 1, 1, 1), Look("R", 1.5, 9, 9), "computed"),
        (Look("R", 1, 1, 1), Look("R", 1.4, 9, 9), ""),  # starved
        (Look("R", 1, 1, 1), Look("R", 1, 1, 9), ""),
        (Look("D", 1, 1, 1), Look("D", 1, 1, 1), ""),
        (Look("S", 1, 1, 1), Look("D", 1, 1, 1), ""),
        (Look("D", 1, 1, 1), Look("S", 3, 9, 1), ""),
        (Look("S", 1, 1, 1), Look("S", 1, 1, 1), "slept"),
        (Look("S", 1, 1, 1), Look("S", 1, 2, 1), ""),  # it turns
        (Look("S", 1, 1, 1), Look("S", 1, 1, 2), ""),
        (None, Look("S", 1, 1, 1), ""),
        (Look("S", 1, 1, 1), None, ""),
    ],
)
def test_the_verdict(first, second, verdict):
    found = judge(first, second)
    assert verdict in found
    assert bool(verdict) == bool(found)


# --- how it starts


def test_it_starts_as_the_last_time_unless_it_is_told_where_the_programs_are(empty, call, programs, tmp_path):
    again = [str(programs / "ast3d"), "as", "the last time"]
    (empty / "run" / "ast3d.json").write_text(json.dumps({"root": os.path.realpath(empty), "argv": again}))
    assert call(empty)[1] == "ensure: started ast3d: nobody ran it\n"
    assert called(tmp_path, 1) == ["ast3d as the last time"]
    assert call(empty, "--bin", programs)[0] == 0
    assert called(tmp_path, 2)[1] == f"ast3d --root {empty} --foreground --again"


def test_it_starts_a_protectd_that_is_missing(empty, call, hold, programs, tmp_path):
    hold("ast3d", ago=0)
    assert call(empty, "--bin", programs)[1] == "ensure: started protectd: nobody ran it\n"
    assert called(tmp_path, 1) == [f"protectd --root {empty} --foreground"]


@pytest.mark.parametrize("name", NAMES)
def test_what_only_begins_is_not_started_twice(empty, call, hold, programs, name):
    hold("protectd" if name == "ast3d" else "ast3d", ago=0)
    lock = empty / "run" / f"{name}.begin"
    argv = [sys.executable, "-c", HOLDER, lock, empty / "run" / "other", "0", "sleep"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as beginning:
        beginning.stdout.readline()
        assert call(empty, "--bin", programs) == (0, "", "")
        beginning.kill()


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[7]", b'{"argv": [1], "lock": 3}', b'{"argv": ["/no/such"], "lock": "x"}', b"\xff"]
)
def test_a_damaged_word_of_the_last_ast3d_changes_nothing(empty, call, programs, tmp_path, damage):
    mine = json.dumps({"root": os.path.realpath(empty)}).encode()[:-1] + b", "
    (empty / "run" / "ast3d.json").write_bytes(damage.replace(b"{", mine, 1) if len(damage) > 1 else damage)
    assert call(empty, "--bin", programs)[0] == 0
    assert called(tmp_path, 1) == [f"ast3d --root {empty} --foreground --again"]


def test_the_run_folder_is_made(empty, call, programs, tmp_path):
    (empty / "run").rmdir()
    assert call(empty, "--bin", programs)[0] == 0
    assert len(called(tmp_path, 1)) == 1


def test_a_site_is_meant_where_no_root_is_given(monkeypatch, empty, programs, tmp_path):
    monkeypatch.setattr(ensure, "SITE_RUN", empty / "run")
    monkeypatch.setattr(ensure, "SITE_LOCK", empty / "state" / "ast3d.lock")
    monkeypatch.setattr(ensure, "SYSTEMD", empty / "none")
    said = list(ensure.ensure(None, "/etc/x.yaml", str(programs)))
    assert said == ["started ast3d: nobody ran it"]
    assert called(tmp_path, 1) == ["ast3d --config /etc/x.yaml --foreground --again"]


# --- what keeps it from doing anything


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda root, _: shutil.rmtree(root), "no such folder"),
        (lambda root, _: (shutil.rmtree(root / "run"), (root / "run").touch()), "run: File exists"),
        (lambda root, _: (root / "run" / "ensure.lock").mkdir(), "ensure.lock: Is a directory"),
        (lambda _, programs: shutil.rmtree(programs), "no program ast3d in"),
        (lambda _, programs: (programs / "ast3d").write_text("no program"), "Exec format error"),
    ],
    ids=["root", "run", "lock", "programs", "program"],
)
def test_what_it_cannot_do_it_says_in_one_line(empty, call, programs, break_it, words):
    break_it(empty, programs)
    code, out, err = call(empty, "--bin", programs)
    assert (code, out) == (1, "")
    assert words in err
    assert err.count("\n") == 1


def test_another_users_node_is_refused_in_one_line(empty, copy, tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755) if os.geteuid() == 0 and folder != Path("/tmp") else None
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    argv = ["/usr/bin/python3", "-I", copy, "--root", empty]
    done = subprocess.run(argv, capture_output=True, text=True, user=65534, group=65534, extra_groups=[], timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert "ensure.lock: Permission denied" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wrong_call_is_one(call, empty):
    assert call(empty, "--what")[0] == 2


# --- with systemd, as it says how its units are


@pytest.mark.parametrize(
    ("state", "since", "result", "starts"),
    [
        ("inactive", "0", "success", True),  # never active
        ("inactive", "77", "success", False),  # `systemctl stop`
        ("failed", "77", "signal", True),
        ("failed", "0", "exit-code", True),
        ("active", "77", "success", False),
        ("activating", "0", "success", False),
        ("deactivating", "77", "success", False),
    ],
)
def test_which_units_are_started(state, since, result, starts):
    unit = {"LoadState": "loaded", "ActiveState": state, "Result": result, "ActiveEnterTimestampMonotonic": since}
    assert bool(needs_start(unit)) is starts
    assert needs_start(unit | {"LoadState": "masked"}) == ""


@pytest.fixture
def systemd(monkeypatch, empty, tmp_path):
    """A site whose `systemctl` knows these units, and writes down what else it is asked."""
    units = {name: {"LoadState": "loaded", "ActiveState": "active"} for name in NAMES}
    asked = []

    def answer(*words):
        if words[0] != "show":
            asked.append(words)
            return ""
        return "".join(f"{key}={value}\n" for key, value in units[words[-1].removesuffix(".service")].items())

    monkeypatch.setattr(ensure, "_systemctl", answer)
    monkeypatch.setattr(ensure, "SITE_RUN", empty / "run")
    monkeypatch.setattr(ensure, "SITE_LOCK", empty / "state" / "ast3d.lock")
    monkeypatch.setattr(ensure, "SYSTEMD", tmp_path)
    return units, asked


def test_root_has_systemd_start_what_failed(systemd, monkeypatch):
    units, asked = systemd
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert list(ensure.ensure(None, None, None)) == []
    units["protectd"] |= {"ActiveState": "failed", "Result": "core-dump"}
    assert list(ensure.ensure(None, None, None)) == ["had systemd start protectd: it has failed (core-dump)"]
    assert asked == [("start", "--no-block", "protectd.service")]


def test_anybody_else_leaves_a_file_for_systemd(systemd, monkeypatch, empty):
    units, asked = systemd
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    units["ast3d"] |= {"ActiveState": "inactive", "ActiveEnterTimestampMonotonic": "0"}
    assert list(ensure.ensure(None, None, None)) == ["had systemd start ast3d: it was never active since the boot"]
    assert (empty / "run" / "start-ast3d").exists()
    assert not (empty / "run" / "start-protectd").exists()
    assert asked == []


def test_a_stop_on_purpose_stands_with_systemd_too(systemd, empty):
    units, asked = systemd
    units["ast3d"] |= {"ActiveState": "failed"}
    files.replace(empty / "run" / "stopped", {"boot": boot_id()})
    assert list(ensure.ensure(None, None, None)) == []
    assert asked == []


def test_systemd_starts_again_what_hung_and_was_ended(systemd, hold):
    _, asked = systemd
    process = hold("protectd")
    assert list(ensure.ensure(None, None, None)) == [f"killed protectd, pid {process.pid}: it slept and nothing woke it"]
    assert asked == []


def test_a_systemctl_that_fails_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    program = tmp_path / "systemctl"
    program.write_text("#!/bin/sh\necho 'Failed to connect\nto bus' >&2; exit 1\n")
    program.chmod(0o755)
    with pytest.raises(EnsureError, match=r"systemctl show .*: Failed to connect to bus"):
        ensure.show("ast3d")


# --- the file


def test_it_stands_alone():
    script = f"import runpy, sys; runpy.run_path({str(SOURCE)!r}); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True)
    assert not [m for m in done.stdout.split() if m.split(".")[0] in {"ast3d", "ast3ctl", "protectd", "structlog", "yaml"}]


def test_the_verb_does_the_same(node):
    assert node.ctl("ensure", "--json") == '{"done": ["started ast3d: nobody ran it"]}\n'
    node.wait(node.guarded, "guarded")
    assert node.ctl("ensure") == ""
