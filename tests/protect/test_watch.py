"""The edge: datagrams, looks at real processes, locks, small files, spawning."""

import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import sys

import pytest

from ast3d.common.clock import boottime
from protectd import files, proc, spawn, systemd
from protectd.handshake import Hand
from protectd.message import Message, Settings, decode, encode
from protectd.watch import Watch

MESSAGE = Message("ast3d", 12, 3400, 5, 6, 7, "backing off", 8.5, Settings(False, 0.5, 4))


@pytest.fixture
def sleeper():
    """A process that does nothing."""
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", "print('up', flush=True); import time; time.sleep(600)"], stdout=-1
    )
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_message_goes_there_and_back():
    assert decode(encode(MESSAGE)) == MESSAGE
    assert decode(encode(MESSAGE._replace(protect=None, until=0.0))) == MESSAGE._replace(protect=None, until=0.0)


@pytest.mark.parametrize("name", ["from", "pid", "ticks", "generation", "seq", "progress", "says"])
@pytest.mark.parametrize("value", [None, "x", -1, 1.5, True, [], {}, 1 << 70])
def test_a_message_that_is_none_is_none(name, value):
    told = json.loads(encode(MESSAGE)) | {name: value}
    assert decode(json.dumps(told).encode()) is None or name == "from"
    del told[name]
    assert decode(json.dumps(told).encode()) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 4000, b"7"])
def test_noise_is_none(data):
    assert decode(data) is None


def test_hands_meet_however_long_the_path(tmp_path):
    run = tmp_path / ("long" * 30)
    run.mkdir()
    ours, theirs = Hand(run, "ast3d"), Hand(run, "protectd")
    ours.send("protectd", MESSAGE)  # nobody is there
    assert theirs.listen()
    assert not theirs.listen()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as noisy:
        folder = os.open(run, os.O_PATH)
        noisy.sendto(b"noise", f"/proc/self/fd/{folder}/protectd.hand")
        os.close(folder)
    for _ in range(1000):  # nobody reads: it costs the sender nothing
        ours.send("protectd", MESSAGE)
    heard = theirs.receive()
    while more := theirs.receive():
        heard += more
    assert set(heard) == {MESSAGE}
    theirs.close()
    ours.close()


def test_looks(sleeper):
    while (first := proc.look(sleeper.pid)).state != "S":  # it has spoken, and goes to sleep
        pass
    assert proc.look(sleeper.pid) == first  # not a nanosecond more
    assert proc.look(sleeper.pid, first.ticks + 1) is None
    sleeper.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, sleeper.pid, os.WSTOPPED | os.WNOWAIT)
    assert proc.look(sleeper.pid, first.ticks).state == "T"
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert proc.look(sleeper.pid).state == "Z"
    sleeper.wait()
    assert proc.look(sleeper.pid) is None
    assert proc.start_ticks(sleeper.pid) == 0


def test_who_holds_a_lock_is_seen_without_taking_it(tmp_path):
    file = tmp_path / "lock"
    assert files.holder(file) is None
    file.touch()
    assert files.holder(file) is None
    hold = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold, file], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert files.holder(file) == other.pid
        other.stdin.close()
    assert files.holder(file) is None
    with file.open("w") as ours:
        fcntl.lockf(ours, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_the_marker_of_a_stop_counts_in_its_boot(tmp_path):
    assert not files.is_stopped(tmp_path, "this")
    for text, stopped in (("", True), ("noise", True), ('{"boot": "this"}', True), ('{"boot": "other"}', False)):
        (tmp_path / "stopped").write_text(text)
        assert files.is_stopped(tmp_path, "this") == stopped


def test_spawning_what_cannot_be_run_raises():
    for argv in (["/nowhere/x"], ["/etc/passwd"], ["relative"]):
        with pytest.raises(OSError, match=r"No such file|Permission|Exec format"):
            spawn.start(argv)


def test_what_is_spawned_is_nobodys_and_inherits_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere")
    out = tmp_path / "out"
    tell = f"""import os; open({str(out)!r}, "w").write(repr((os.environ.get("NOTIFY_SOCKET"), os.getsid(0) != os.getpid(),
        os.getcwd(), sorted(os.listdir("/proc/self/fd")))))"""
    fd = os.pidfd_open(spawn.start([sys.executable, "-c", tell]))
    selector = selectors.DefaultSelector()
    selector.register(fd, selectors.EVENT_READ)
    assert selector.select(60)
    os.close(fd)
    notify, not_leader, folder, open_files = eval(out.read_text())
    assert (notify, not_leader, folder) == (None, True, "/")
    assert set(open_files) <= {"0", "1", "2", "3", "4"}  # the file and the listing themselves


def test_systemd_is_absent_without_harm(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not systemd.notify("READY=1")
    for nowhere in ("relative", "/nowhere/socket", "@nowhere", "/" * 200):
        monkeypatch.setenv("NOTIFY_SOCKET", nowhere)
        assert not systemd.notify("READY=1")
    assert not systemd.is_unit("ast3d")
    assert not systemd.is_unit("ast3d", 1 << 22)


def test_two_watches_shake_hands_and_agree_on_the_settings(tmp_path):
    said = []
    selector = selectors.DefaultSelector()
    ast3d = Watch(tmp_path, "ast3d", "protectd", selector, lambda *what: said.append(what), None)
    protectd = Watch(tmp_path, "protectd", "ast3d", selector, lambda *what: said.append(what), None)
    wanted = Settings(True, 2.0, 5)
    now = boottime()
    for turn in range(6):
        ast3d.turn(now + turn * 0.1, turn, "ready", wanted)
        protectd.turn(now + turn * 0.1, turn, "ready")
    assert protectd.guard.settings == wanted
    assert ast3d.about() == protectd.about() == {"pid": os.getpid(), "state": "watching"}
    ast3d.turn(now + 0.6, 7, "stopping")
    protectd.turn(now + 0.6, 7, "ready")
    assert protectd.about()["state"] == "stopping"
    assert files.read(tmp_path / "ast3d.alive")["pid"] == os.getpid()
    ast3d.close()
    protectd.close()
    assert not selector.get_map()
    assert not said
