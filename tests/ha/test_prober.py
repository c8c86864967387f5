"""The prober as a process: peers that answer, hang, refuse and lie; a serial line that comes and goes."""

import contextlib
import os
import select
import selectors
import socket
import sys
import termios
import threading
import time
import tty
from pathlib import Path

import pytest

from ast3d.common.clock import boottime
from ha import witness
from ha.serial_line import Ends, SerialLine
from ha.witness import Standing, answer, ask, judge, understand
from ha.witness_server import WitnessServer
from tests.ha.agents import PATIENCE_SECONDS, Agent
from tests.ha.etcds import free_port

KEY = b"k" * 32
ABLE = Standing(able=True, works=("x",))
UNABLE = Standing(able=False, reason="no disk")


@pytest.fixture
def prober():
    agent = Agent("ha.prober")
    yield agent
    agent.end()


@pytest.fixture
def key_file(tmp_path):
    file = tmp_path / "key"
    file.write_bytes(KEY)
    file.chmod(0o600)
    return file


@pytest.fixture
def order(key_file):
    def make(peers, serial=None, period=0.1, me="a"):
        return {"ask": {"me": me, "peers": peers, "key_file": str(key_file), "serial": serial, "period": period}}

    return make


class Node:
    """A peer, in a thread."""

    def __init__(self, name, standing, key=KEY):
        self.standing = standing
        self.selector = selectors.DefaultSelector()
        self.server = WitnessServer("127.0.0.1:0", name, key, lambda: self.standing, self.selector)
        self.address = f"127.0.0.1:{self.server.port()}"
        self.over = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.over:
            for key, mask in self.selector.select(0.05):
                key.data(mask)
        self.server.close()

    def end(self):
        self.over = True
        self.thread.join()


@pytest.fixture
def node():
    made = []

    def make(*args, **more):
        made.append(Node(*args, **more))
        return made[-1]

    yield make
    for one in made:
        one.end()


def until(prober, sought):
    """The next answers of which this holds."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        answers = prober.hear("answers")
        if sought(answers):
            return answers
    raise AssertionError(answers)


class TestTcp:
    def test_what_peers_say_is_told_with_when_they_were_asked(self, prober, order, node):
        begun = boottime()
        prober.tell(order({"b": node("b", ABLE).address, "c": node("c", UNABLE).address}))
        answers = until(prober, lambda answers: all(one["at"] for one in answers.values()))
        assert answers["b"] | {"at": 0} == {"at": 0, "able": True, "reason": "", "works": ["x"], "problem": ""}
        assert answers["c"] | {"at": 0} == {"at": 0, "able": False, "reason": "no disk", "works": [], "problem": ""}
        assert begun < answers["b"]["at"] < boottime()
        again = until(prober, lambda later: later["b"]["at"] > answers["b"]["at"])
        assert again["b"]["able"]

    def test_once_a_period(self, prober, order, node):
        prober.tell(order({"b": node("b", ABLE).address}, period=0.2))
        prober.hear("answers")
        begun = time.monotonic()
        for _ in range(5):
            prober.hear("answers")
        assert 0.75 < time.monotonic() - begun < 3

    def test_one_who_hangs_delays_nobody(self, prober, order, node):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            address = f"127.0.0.1:{silent.getsockname()[1]}"
            hanging = dict.fromkeys("cdefgh", address)
            prober.tell(order({**hanging, "b": node("b", ABLE).address}, period=1.0))
            answers = until(prober, lambda answers: answers["b"]["at"])
            assert answers["c"] == {"at": None, "able": False, "reason": "", "works": [],
                                    "problem": f"c at {address}: no answer within 0.5 s"}  # fmt: skip
            later = prober.hear("answers")
            assert 0.6 < later["b"]["at"] - answers["b"]["at"] < 1.8

    def test_one_who_hung_is_asked_again(self, prober, order):
        with socket.create_server(("127.0.0.1", 0)) as moody:
            held = []

            def serve():
                connection, _ = moody.accept()
                held.append(connection)
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = moody.accept()
                        connection.sendall(answer(KEY, understand(KEY, "b", connection.recv(4096)), ABLE))
                        connection.close()

            threading.Thread(target=serve, daemon=True).start()
            prober.tell(order({"b": f"127.0.0.1:{moody.getsockname()[1]}"}))
            begun = time.monotonic()
            until(prober, lambda answers: answers["b"]["at"])
            assert 0.4 < time.monotonic() - begun < 4
            held[0].close()

    def test_the_last_answer_is_kept_with_its_time_when_no_more_come(self, prober, order, node):
        peer = node("b", ABLE)
        prober.tell(order({"b": peer.address}))
        until(prober, lambda answers: answers["b"]["at"])
        peer.end()
        after = boottime()
        refused = f"b at {peer.address}: connection refused"
        answers = until(prober, lambda answers: answers["b"]["problem"] == refused)
        assert answers["b"]["able"]
        assert answers["b"]["at"] < after

    @pytest.mark.parametrize(("name", "key"), [("c", KEY), ("b", b"j" * 32), ("a", KEY)])
    def test_another_name_or_key_is_no_answer(self, prober, order, node, name, key):
        prober.tell(order({"b": node(name, ABLE, key=key).address}))
        answers = until(prober, lambda answers: answers["b"]["problem"])
        assert answers["b"]["at"] is None
        assert not answers["b"]["able"]
        assert "closed the connection without an answer" in answers["b"]["problem"]

    def test_what_is_said_without_the_key_is_no_answer(self, prober, order):
        with socket.create_server(("127.0.0.1", 0)) as liar:

            def lie():
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = liar.accept()
                        question = understand(KEY, "b", connection.recv(4096))
                        connection.sendall(answer(b"j" * 32, question, ABLE))
                        connection.close()

            threading.Thread(target=lie, daemon=True).start()
            prober.tell(order({"b": f"127.0.0.1:{liar.getsockname()[1]}"}))
            answers = until(prober, lambda answers: answers["b"]["problem"])
            assert answers["b"]["at"] is None
            assert "not signed with this node's key" in answers["b"]["problem"]

    @pytest.mark.parametrize("address", ["127.0.0.1:99999", "nobody.invalid:4471", "a..b:1"])
    def test_an_address_that_is_none(self, prober, order, node, address):
        prober.tell(order({"b": address, "c": node("c", ABLE).address}))
        until(prober, lambda answers: answers["b"]["problem"] and answers["c"]["at"])

    def test_the_key_is_looked_for_again(self, prober, order, node, key_file):
        key_file.rename(key_file.with_name("away"))
        prober.tell(order({"b": node("b", ABLE).address}))
        assert "the nodes' key cannot be read" in prober.hear("answers")["b"]["problem"]
        key_file.with_name("away").rename(key_file)
        assert until(prober, lambda answers: answers["b"]["at"])["b"]["problem"] == ""

    def test_another_configuration(self, prober, order, node):
        prober.tell(order({"b": node("b", ABLE).address}))
        first = until(prober, lambda answers: answers["b"]["at"])
        prober.tell(order({"b": first and f"127.0.0.1:{free_port()}", "c": node("c", ABLE).address}))
        answers = until(prober, lambda answers: answers.get("c", {}).get("at"))
        assert answers["b"]["at"] is None  # of another address nothing is known

    def test_it_answers_pings_and_ends_with_its_agent(self, prober):
        prober.tell({"ping": 4})
        assert prober.hear("pong") == 4
        prober.sock.close()
        assert prober.process.wait(PATIENCE_SECONDS) == 0


class NullModem:
    """Two devices, each with what is written to the other; pulled out by `end`."""

    def __init__(self, folder):
        self.paths, self.fds, self.slaves = [], [], []
        for name in ("left", "right"):
            master, slave = os.openpty()
            tty.setraw(slave)
            self.paths.append(str(folder / name))
            (folder / name).symlink_to(os.ttyname(slave))
            self.fds.append(master)
            self.slaves.append(slave)
        self.over, self.stop = os.pipe()
        self.spoil = lambda data: data
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            ready, _, _ = select.select([self.over, *self.fds], [], [])
            if self.over in ready:
                return
            for fd in ready:
                os.write(self.fds[1 - self.fds.index(fd)], self.spoil(os.read(fd, 4096)))

    def end(self):
        if self.fds:
            os.write(self.stop, b"x")
            self.thread.join()
            for fd in (*self.fds, *self.slaves, self.over, self.stop):
                os.close(fd)
            for path in self.paths:
                Path(path).unlink()
            self.fds = []


@pytest.fixture
def modem(tmp_path):
    (tmp_path / "modem").mkdir()
    modem = NullModem(tmp_path / "modem")
    yield modem
    modem.end()


@pytest.fixture
def far(modem):
    """The other node's end of the line, which asks too."""
    heard = threading.Event()
    said = []

    def hear(name, sent, standing):
        said.append((name, sent, standing))
        heard.set()

    line = SerialLine(Ends(modem.paths[1], KEY, "c", ("b", "a"), 0.1), lambda: UNABLE, hear)
    line.said, line.event = said, heard
    line.start()
    yield line
    assert line.stop()


class TestSerial:
    def test_both_ends_ask_and_answer(self, prober, order, modem, far):
        """And find out by themselves which node is at the other end."""
        dead = f"127.0.0.1:{free_port()}"
        prober.tell({"standing": {"able": True, "reason": "", "works": ["x"]}})
        prober.tell(order({"b": dead, "c": dead}, serial=modem.paths[0]))
        answers = until(prober, lambda answers: answers["c"]["at"])
        assert answers["c"]["reason"] == "no disk"
        assert answers["b"]["at"] is None
        assert answers["c"]["problem"] == f"c at {dead}: connection refused"  # the other way is still said to be broken
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not far.event.wait(0.5) and time.monotonic() < deadline:
            prober.tell({"standing": {"able": True, "reason": "", "works": ["x"]}})
        assert far.said[0][::2] == ("a", ABLE)

    def test_of_an_agent_that_says_nothing_any_more_nothing_is_said(self, prober, order, modem):
        """The other end asks by hand."""
        prober.tell(order({"c": f"127.0.0.1:{free_port()}"}, serial=modem.paths[0]))
        fd = os.open(modem.paths[1], os.O_RDWR | os.O_NOCTTY)

        def question():
            """Whether there is an answer, before the prober has asked twice itself."""
            mine, seen, text = ask(KEY, "c", "a"), 0, b""
            os.write(fd, mine.line)
            while seen < 2:
                assert select.select([fd], [], [], PATIENCE_SECONDS)[0]
                text += os.read(fd, 4096)
                *lines, text = text.split(b"\n")
                for line in lines:
                    with contextlib.suppress(witness.WitnessError):
                        return judge(KEY, mine, line + b"\n")
                    seen += 1
            return None

        assert question() is None
        prober.tell({"standing": {"able": True, "reason": "", "works": ["x"]}}, {"ping": 1})
        prober.hear("pong")
        assert question() == ABLE
        told = time.monotonic()
        while question() is not None:
            assert time.monotonic() - told < 10
        os.close(fd)

    def test_noise_on_the_line_is_passed_over(self, prober, order, modem, far):
        pieces = iter([b"\0\xff\n\n{", b"x" * 10_000, b"\n"])
        modem.spoil = lambda data: next(pieces, data)
        prober.tell(order({"c": f"127.0.0.1:{free_port()}"}, serial=modem.paths[0]))
        assert until(prober, lambda answers: answers["c"]["at"])["c"]["reason"] == "no disk"
        assert far.problem == ""

    def test_an_absent_device_is_a_line_and_is_tried_again(self, prober, order, node, tmp_path):
        path = tmp_path / "modem" / "left"
        prober.tell(order({"b": node("b", ABLE).address}, serial=str(path)))
        answers = until(prober, lambda answers: answers["b"]["at"] and answers["b"]["problem"])
        assert f"serial line {path}: " in answers["b"]["problem"]
        assert "No such file or directory" in answers["b"]["problem"]
        (tmp_path / "modem").mkdir()
        modem = NullModem(tmp_path / "modem")
        until(prober, lambda answers: answers["b"]["problem"] == "")
        modem.end()
        until(prober, lambda answers: "serial line" in answers["b"]["problem"])
        modem = NullModem(tmp_path / "modem")
        until(prober, lambda answers: answers["b"]["problem"] == "")
        modem.end()

    def test_nobody_reads_at_the_other_end(self, prober, order, node):
        """What is written piles up, and then nothing more is."""
        master, slave = os.openpty()
        tty.setraw(slave)
        termios.tcflow(slave, termios.TCOOFF)
        prober.tell(order({"b": node("b", ABLE).address}, serial=os.ttyname(slave), period=0.05))
        until(prober, lambda answers: answers["b"]["at"] and "takes nothing more" in answers["b"]["problem"])
        os.close(master)
        os.close(slave)

    def test_without_pyserial_it_is_said(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "serial", None)
        line = SerialLine(Ends(str(tmp_path / "x"), KEY, "a", ("b",), 0.01), lambda: None, lambda *_: None)
        line.start()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not line.problem and time.monotonic() < deadline:
            time.sleep(0.01)
        assert line.problem.endswith("pyserial is not installed: pip install 'ast3[serial]'")
        assert line.stop()
