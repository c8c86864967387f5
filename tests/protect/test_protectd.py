"""The daemon protectd, with a peer that is made to be ill: `fake_peer.py`."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from ast3d.common.clock import boot_id, boottime
from ast3d.common.logline import parse
from protectd import proc
from protectd.message import MAX_BYTES, decode
from protectd.verdict import START_SECONDS

PERIOD, MISSES = 0.5, 3
PEER = Path(__file__).with_name("fake_peer.py")
LIMIT_KB = 15 * 1024
ENVIRONMENT = os.environ | {"PYTHONPATH": str(PEER.parent.parent.parent)}


def wait_for(what, seconds=60.0):
    """What `what()` gives as soon as it is true."""
    ends = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < ends, "it did not come"
        time.sleep(0.01)
    return found


class Node:
    """One root folder with a protectd, and peers that it starts."""

    def __init__(self, root: Path) -> None:
        self.root, self.run = root, root / "run"
        self.run.mkdir()
        (root / "log").mkdir()
        self.tell([sys.executable, str(PEER), str(self.run), str(PERIOD)])
        self.daemons: list[subprocess.Popen] = []

    def tell(self, argv, **more):
        folder = {"lock": str(self.root / "none.lock"), "log": str(self.root / "log" / "ast3d.log")}
        facts = {"root": os.path.realpath(self.root), "argv": argv} | folder | more
        (self.run / "ast3d.json").write_text(json.dumps(facts))

    def start(self, *more, program="protectd", **environment):
        argv = [sys.executable, "-m", program, "--root", str(self.root), "--foreground", *more]
        daemon = subprocess.Popen(argv, env=ENVIRONMENT | environment, stderr=subprocess.PIPE, text=True)
        self.daemons.append(daemon)
        return daemon

    def events(self):
        file = self.root / "log" / "protectd.log"
        return [parse(line) for line in file.read_text().splitlines()] if file.exists() else []

    def said(self, event, number=1):
        return [line for line in self.events() if line.event == event][number - 1 :]

    def begun(self):
        """(pid, boottime) of the peers that began, ever."""
        file = self.run / "fake.begun"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(int(line.split()[0]), float(line.split()[1])) for line in lines]

    def peer(self, number=1):
        """The pid of the so-manieth peer, as soon as it is heard."""
        pid = wait_for(lambda: len(self.begun()) >= number and self.begun()[number - 1][0])
        return wait_for(lambda: (alive := self.alive("ast3d")) and alive["pid"] == pid and alive["progress"] > 0 and pid)

    def alive(self, name):
        try:
            return json.loads((self.run / f"{name}.alive").read_text())
        except FileNotFoundError:
            return None

    def close(self):
        (self.run / "fake.end").touch()  # for one that has only just been started
        for daemon in self.daemons:
            daemon.kill()
            daemon.wait()
            daemon.stderr.close()
        for pid, _ in self.begun():
            if str(PEER) in proc_line(pid):
                os.kill(pid, signal.SIGKILL)


def proc_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.fixture
def node(tmp_path):
    node = Node(tmp_path)
    yield node
    node.close()


def test_it_starts_a_peer_that_is_not_there_and_again_one_that_dies(node):
    node.start()
    first = node.peer()
    killed = boottime()
    os.kill(first, signal.SIGKILL)
    second = node.peer(2)
    assert node.begun()[1][1] - killed < 1.5
    left = proc.look(first)
    assert left is None or left.state == "Z"  # whoever adopted it reaps it in its own time
    status = Path(f"/proc/{second}/status").read_text()
    assert f"NSsid:\t{second}" not in status  # a session of its own, which it does not lead: no terminal can come
    assert str(Path(f"/proc/{second}/fd/0").readlink()) == "/dev/null"


@pytest.mark.parametrize(
    ("number", "reason"),
    [(signal.SIGSTOP, "stopped"), (signal.SIGUSR1, "spinning"), (signal.SIGUSR2, "deadlocked")],
    ids=["stopped", "spins", "deadlock"],
)
def test_a_peer_that_hangs_is_replaced(node, number, reason):
    node.start()
    first = node.peer()
    hung = boottime()
    os.kill(first, number)
    node.peer(2)
    assert node.begun()[1][1] - hung < PERIOD * MISSES + 1.0
    assert [line.fields["reason"] for line in node.said("peer.kill")] == [reason]


def test_a_peer_that_is_paused_for_less_than_that_is_left_alone(node):
    node.start()
    first = node.peer()
    for _ in range(2):
        os.kill(first, signal.SIGSTOP)
        time.sleep(PERIOD)  # what is tested is that nothing happens
        os.kill(first, signal.SIGCONT)
        before = node.alive("ast3d")["progress"]
        wait_for(lambda before=before: node.alive("ast3d")["progress"] > before)
    assert not node.said("peer.kill")


def test_one_that_speaks_without_progress_but_goes_round_is_said_to_be_slow(node):
    node.start()
    first = node.peer()
    os.kill(first, signal.SIGHUP)
    wait_for(lambda: node.said("peer.slow"))
    assert not node.said("peer.kill")
    assert proc.look(first)


def test_a_protectd_that_was_stopped_itself_does_not_count_that(node):
    (node.run / "fake.meek").touch()
    daemon = node.start()
    node.peer()
    daemon.send_signal(signal.SIGSTOP)
    time.sleep(2 * PERIOD * MISSES)  # what is tested is that nothing happens
    daemon.send_signal(signal.SIGCONT)
    before = node.alive("protectd")["progress"]
    wait_for(lambda: node.alive("protectd")["progress"] > before + 3)
    assert not node.said("peer.kill")
    assert len(node.begun()) == 1


def test_while_the_marker_is_there_nothing_is_started(node):
    marker = node.run / "stopped"
    marker.write_text(json.dumps({"boot": boot_id()}))
    node.start()
    wait_for(lambda: (alive := node.alive("protectd")) and alive["progress"] > 6)
    assert not node.begun()
    marker.write_text(json.dumps({"boot": "another"}))
    node.peer()


@pytest.mark.parametrize("protect", [{"enabled": False, "period_seconds": 0.2, "misses": 3}, {"enabled": 0}, "no"], ids=str)
def test_it_guards_as_the_last_ast3d_wanted_it_until_this_one_speaks(node, protect):
    argv = json.loads((node.run / "ast3d.json").read_text())["argv"]
    node.tell(argv, protect=protect)
    node.start()
    if protect == "no" or len(protect) < 3:  # damaged: it guards
        node.peer()
        return
    wait_for(lambda: (alive := node.alive("protectd")) and alive["progress"] > 12)
    assert not node.begun()


def test_it_ends_for_a_stop_that_is_asked_for_while_it_runs(node):
    daemon = node.start()
    first = node.peer()
    (node.run / "stopped").write_text(json.dumps({"boot": boot_id()}))
    os.kill(first, signal.SIGKILL)
    assert daemon.wait(60) == 80
    assert len(node.begun()) == 1


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGUSR1, signal.SIGUSR2], ids=["stopped", "spins", "deadlock"])
def test_a_silent_peer_that_holds_the_lock_is_found_and_judged(node, number):
    """One that was ready is not taken for one that starts, although this protectd never heard it."""
    other = subprocess.Popen([sys.executable, str(PEER), str(node.run), str(PERIOD)], env=ENVIRONMENT)
    try:
        first = node.peer()
        struck = boottime()
        os.kill(first, number)
        node.start()
        assert other.wait(60) == -signal.SIGKILL
        assert int(node.said("peer.found")[0].fields["pid"]) == first
        node.peer(2)
        assert boottime() - struck < START_SECONDS / 2
    finally:
        other.kill()
        other.wait()


def test_a_peer_that_crashes_at_start_is_tried_and_comes_back_when_the_cause_is_gone(node):
    (node.run / "fake.crash").touch()
    node.start()
    wait_for(lambda: len(node.begun()) >= 3)
    times = [at for _, at in node.begun()]
    assert all(later - earlier > 0.9 for earlier, later in pairwise(times))
    (node.run / "fake.crash").unlink()
    wait_for(lambda: node.alive("ast3d"))


def test_one_that_cannot_be_run_is_said_and_tried_again(node):
    node.tell(["/nowhere/ast3d"])
    node.start()
    line = wait_for(lambda: node.said("peer.not-started"))[0]
    assert "/nowhere/ast3d" in line.fields["reason"]
    node.tell([sys.executable, str(PEER), str(node.run), str(PERIOD)])
    node.peer()


def test_there_is_only_one_and_it_ends_when_asked(node):
    daemon = node.start()
    node.peer()
    second = node.start()
    assert second.wait(60) == 1
    assert second.stderr.read() == f"protectd: protectd runs here already, pid {daemon.pid}\n"
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(60) == 0
    assert len(node.begun()) == 1


def test_whose_lock_is_taken_away_ends(node):
    daemon = node.start()
    node.peer()
    (node.run / "protectd.lock").unlink()
    assert daemon.wait(60) == 1
    assert node.said("daemon.superseded")


def test_sockets_that_are_taken_away_are_made_again(node):
    node.start()
    first = node.peer()
    for name in ("ast3d.hand", "protectd.hand"):
        (node.run / name).unlink()
    wait_for(lambda: (node.run / "ast3d.hand").exists() and (node.run / "protectd.hand").exists())
    assert (node.run / "protectd.hand").stat().st_mode & 0o777 == 0o600
    before = node.alive("protectd")["progress"]
    wait_for(lambda: node.alive("protectd")["progress"] > before + 10)
    assert node.begun()[0][0] == first
    assert len(node.begun()) == 1


def test_systemd_is_told(node):
    address = str(node.root / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listens:
        listens.bind(address)
        listens.settimeout(60)
        node.start(NOTIFY_SOCKET=address, WATCHDOG_USEC="300000")
        told = [listens.recv(1000).decode()]
        while "ready" not in told[0] and len(told) < 6:
            told.append(listens.recv(1000).decode())
    assert told[0] == "READY=1"
    assert sum("WATCHDOG=1" in line for line in told) >= 4
    assert any("STATUS=ast3d" in line for line in told)


@pytest.mark.parametrize(("daemon", "peer"), [("protectd", "ast3d"), ("ast3d", "protectd")])
def test_the_other_knows_that_it_is_ready_before_anybody_else(node, daemon, peer):
    """One that hangs at once would else be thought to be starting, and left alone for half a minute."""
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listens,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hand,
    ):
        listens.bind(str(node.root / "notify"))
        listens.settimeout(60)
        hand.bind(str(node.run / f"{peer}.hand"))
        hand.setblocking(False)
        more = []
        if daemon == "ast3d":
            (node.run / "ast3d.json").unlink()
            alone = node.root / "ast3d.yaml"
            alone.write_text("protect: {enabled: false}\n")  # it starts no protectd, which would start it again
            more = ["--config", str(alone)]
        node.start(*more, program=daemon, NOTIFY_SOCKET=str(node.root / "notify"))
        while "READY=1" not in listens.recv(1000).decode():
            pass
        said = []
        with contextlib.suppress(BlockingIOError):
            while True:
                said.append(decode(hand.recv(MAX_BYTES)).says)
    assert "ready" in said


def test_in_the_background_it_says_what_is_wrong(node):
    call = [sys.executable, "-m", "protectd", "--root", str(node.root)]
    done = subprocess.run(call, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    pid = node.alive("protectd")["pid"]
    fd = os.pidfd_open(pid)
    try:
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        again = subprocess.run(call, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
        assert (again.returncode, again.stderr) == (1, f"protectd: protectd runs here already, pid {pid}\n")
    finally:
        os.kill(pid, signal.SIGTERM)
        assert select.select([fd], [], [], 60)[0]
        os.close(fd)


@pytest.mark.parametrize(("words", "about"), [(["--rot", "x"], "--rot"), (["--root"], "--root"), (["x"], "x")])
def test_a_wrong_call(words, about):
    call = [sys.executable, "-m", "protectd", *words]
    done = subprocess.run(call, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith(f"protectd: {about} ")
    assert done.stderr.count("\n") == 1


def test_it_is_small_and_idle(node):
    daemon = node.start()
    node.peer()
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    kilobytes = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
    assert kilobytes <= LIMIT_KB
    before, began = proc.look(daemon.pid).cpu, boottime()
    progress = node.alive("protectd")["progress"]
    wait_for(lambda: node.alive("protectd")["progress"] > progress + 16)
    assert (proc.look(daemon.pid).cpu - before) / (boottime() - began) * PERIOD < 0.005  # for a period of a second
