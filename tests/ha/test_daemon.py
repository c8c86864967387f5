"""A real ast3-ha, its real ast3d and a real etcd."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.ha.etcds import ADDRESS, Etcd, free_port
from tests.system.conftest import PATIENCE_SECONDS
from tests.system.conftest import Node as Ast3d

BIN = Path(sys.executable).parent
HELPERS = ("courier", "prober", "liaison")
CONFIG = """\
telescopes: {ast3-1: {node: a, array: north}%s}
nodes: {a: {address: '127.0.0.1:%d'}, b: {address: '127.0.0.1:%d'}, c: {address: '127.0.0.1:%d'}}
ha: {node: a, etcd: ['%s'], key_file: @/etc/ha.key, quorum_seconds: 3, lease_seconds: 3}
pipeline: {command: [/bin/sh, -c, 'echo "$0" >> @/ledger', '{frame}', '{out}']}
pool: {settle_seconds: 0.3, scan_seconds: 0.5, incomplete_seconds: 1}
worker: {slots: 2, attempts: 3, backoff_seconds: 0.1, backoff_limit_seconds: 60}
"""
STATUS = {"node", "mode", "quorum", "nodes", "telescopes", "lease", "problems"}
TELESCOPE = {"owner", "holder", "token", "epoch", "array", "flaps", "works_here", "backup"}


class Node(Ast3d):
    """ast3d and ast3-ha below one folder; `etcd` is where the agent finds one."""

    def __init__(self, root, etcd):
        self.etcd, self.ports = etcd, [free_port() for _ in range(3)]
        self.agent = None
        super().__init__(root, self.config())
        self.key = root / "etc" / "ha.key"
        self.key.write_bytes(os.urandom(32))
        self.key.chmod(0o600)

    def config(self, more=""):
        return CONFIG % (more, *self.ports, self.etcd)

    def begin(self):
        """Start the agent, and wait for its word."""
        self.agent = subprocess.Popen(
            [BIN / "ast3-ha", "--root", self.root, "--foreground"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.wait(lambda: self.ha("status").returncode == 0, "served at ha.sock")

    def call(self, *words):
        """One that is expected to end -> (exit code, what it said on stderr apart from the log)."""
        done = subprocess.run(
            [BIN / "ast3-ha", "--root", self.root, *words], capture_output=True, text=True, timeout=PATIENCE_SECONDS
        )
        return done.returncode, done.stderr

    def end(self, number=signal.SIGTERM):
        self.agent.send_signal(number)
        self.agent.communicate(timeout=PATIENCE_SECONDS)
        code, self.agent = self.agent.returncode, None
        return code

    def ha(self, *words):
        return self.ctl("ha", *words)

    def cluster(self):
        return json.loads(self.ha("status", "--json").stdout)

    def telescope(self, name="ast3-1"):
        return self.cluster()["telescopes"][name]

    def ha_log(self, event=""):
        path = self.root / "log" / "ast3-ha.log"
        return [line for line in path.read_text().splitlines() if f" {event}" in line] if path.exists() else []

    def errors(self):
        return [line for line in self.ha_log() if " ERROR " in line or " FATAL " in line]

    def settle(self):
        """Until the agent has etcd's word for its own telescope."""
        self.wait(lambda: self.telescope()["token"] > 0 and self.cluster()["lease"]["id"], "registered in etcd")

    def helper(self, name):
        """The pid of a helper of this very agent."""
        for pid in children(self.agent.pid):
            with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                if f"ha.{name}".encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                    return pid
        return None

    def drop(self, name):
        aside = self.root / "aside"
        aside.write_bytes(name.encode())
        aside.rename(self.pool / name)

    def works(self, name="a.fits"):
        """A frame goes through."""
        before = len(self.published())
        self.drop(name)
        self.wait(lambda: len(self.published()) == before + 1, f"{name} published")


def children(pid):
    return [int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()]


@pytest.fixture
def etcd(tmp_path):
    member = Etcd(tmp_path / "etcd")
    yield member
    member.end()


@pytest.fixture
def make(tmp_path):
    """A node whose daemons are ended afterwards, by their pids."""
    made = []

    def begin(etcd="http://127.0.0.1:1"):
        made.append(Node(tmp_path / "node", etcd))
        return made[-1]

    yield begin
    for one in made:
        if one.agent:
            one.end(signal.SIGKILL)
        if (one.root / "run").is_dir():
            (one.root / "run" / "stopped").touch()
        if one.process:
            one.stop(signal.SIGKILL if one.process.poll() is None else 0)
        shutil.rmtree(one.root, ignore_errors=True)


@pytest.fixture
def node(make, etcd):
    """Both daemons, settled."""
    one = make(etcd.url)
    one.start()
    one.begin()
    one.settle()
    return one


def test_it_takes_its_telescope_and_tells_all_that_was_promised(node, etcd):
    status = node.cluster()
    assert set(status) == STATUS
    assert (status["node"], status["mode"], status["quorum"]) == ("a", "cyclic", True)
    assert status["nodes"]["a"] == {"state": "able", "lease": True, "witness": "able", "reason": ""}
    assert set(status["lease"]) == {"id", "regrants", "last_gap_seconds"}
    about = status["telescopes"]["ast3-1"]
    assert set(about) > TELESCOPE
    assert (about["owner"], about["holder"], about["epoch"], about["array"]) == ("a", "a", 1, "north")
    assert (about["works_here"], about["flaps"]) == (True, 0)
    assert sum("does not answer on the second path" in problem for problem in status["problems"]) == 2
    kept = json.loads(etcd.ctl("get", "/ast3/tel/ast3-1", "--print-value-only"))
    assert (kept["owner"], kept["holder"], kept["epoch"], kept["flaps"]) == ("a", "a", 1, 0)
    node.wait(lambda: node.status()["telescopes"]["ast3-1"]["token"] == about["token"], "ast3d has been told")
    node.works()
    (manifest,) = [json.loads(path.read_text()) for path in node.published()]
    assert (manifest["node"], manifest["claim"]) == ("a", {"epoch": 1, "token": about["token"], "own": True})
    assert "ast3-1" in node.ha("status").stdout
    assert node.errors() == []
    assert node.end() == 0
    assert "daemon.stop" in node.ha_log()[-1]
    assert node.ha("status").returncode == 1
    node.works("b.fits")


@pytest.mark.parametrize("helper", HELPERS)
def test_a_helper_that_is_killed_comes_back_and_moves_nothing(node, helper):
    before, pid = node.telescope(), node.helper(helper)
    os.kill(pid, signal.SIGKILL)
    node.wait(lambda: node.helper(helper) not in (None, pid), "another one")
    node.wait(lambda: len(node.ha_log("helper.down")) == 1, "said")
    assert f"helper={helper}" in node.ha_log("helper.down")[0]
    time.sleep(4.0)  # longer than a lease
    status = node.cluster()
    assert status["telescopes"]["ast3-1"] == before
    assert (status["nodes"]["a"]["state"], status["nodes"]["a"]["lease"], status["quorum"]) == ("able", True, True)
    assert len(node.errors()) == 1
    node.works()


def test_sighup_registers_a_new_telescope_and_a_broken_file_changes_nothing(node):
    before = node.telescope()
    node.configure(node.config(", ast3-9: {node: a}"))
    node.agent.send_signal(signal.SIGHUP)
    node.wait(lambda: node.cluster()["telescopes"].get("ast3-9", {"token": 0})["token"] > 0, "registered")
    assert node.telescope("ast3-9")["owner"] == "a"
    assert node.telescope() == before
    assert node.errors() == []
    good = (node.root / "etc" / "ast3d.yaml").read_text()
    for broken in (
        good.replace("mode", "mood").replace("quorum_seconds: 3", "quorum_secs: 3"),
        good[:60],
        good.replace("node: a, etcd", "etcd"),
        good.replace("node: a, etcd", "node: b, etcd"),
    ):
        (node.root / "etc" / "ast3d.yaml").write_text(broken)
        complained = len(node.errors())
        node.agent.send_signal(signal.SIGHUP)
        node.wait(lambda complained=complained: len(node.errors()) > complained, "said")
        assert len(node.errors()) == complained + 1
        assert "config.problem" in node.errors()[-1]
    time.sleep(2.0)
    assert set(node.cluster()["telescopes"]) == {"ast3-1", "ast3-9"}
    assert node.telescope() == before


def test_while_etcd_is_away_own_work_goes_on_and_one_line_each_says_so(node, etcd):
    before = node.telescope()
    etcd.end()
    node.works("a.fits")
    node.wait(lambda: node.ha_log("ha.etcd.lost"), "said")
    node.wait(lambda: not node.cluster()["quorum"], "told in the status")
    assert any(problem.startswith("etcd: ") for problem in node.cluster()["problems"])
    assert "etcd does not answer" in node.ha("status").stdout
    node.works("b.fits")
    refused = node.ha("handover", "a", "--to", "b")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert "etcd does not answer, so nothing can be moved" in refused.stderr
    etcd.start()
    node.wait(lambda: node.ha_log("ha.etcd.back"), "back")
    node.wait(lambda: node.cluster()["nodes"]["a"]["lease"], "with a lease")
    node.works("c.fits")
    assert (len(node.ha_log("ha.etcd.lost")), len(node.ha_log("ha.etcd.back"))) == (1, 1)
    assert node.telescope() == before


def test_after_a_kill_the_last_assignment_rules_also_without_etcd(node, etcd):
    before = node.telescope()
    told = json.loads((node.root / "state" / "ha.json").read_text())
    assert told["telescopes"]["ast3-1"]["token"] == before["token"]
    etcd.ctl("put", "/ast3/tel/ast3-1", json.dumps({"owner": "b", "epoch": 2, "holder": "b", "why": "test", "flaps": 0}))
    node.wait(lambda: node.telescope()["holder"] == "b", "another's")
    node.wait(lambda: not node.status()["telescopes"], "let go")
    node.end(signal.SIGKILL)
    etcd.end()
    node.begin()
    time.sleep(3.0)
    about = node.telescope()
    assert (about["owner"], about["epoch"], about["works_here"]) == ("b", 2, about["provisional"])
    assert "remembered=1" in node.ha_log("ha.start")[-1]


@pytest.mark.parametrize("how", ["torn", "nonsense", "folder", "fifo"])
def test_a_memory_that_cannot_be_read_is_said_and_stops_nothing(make, etcd, how):
    one = make(etcd.url)
    one.start()
    memory = one.root / "state" / "ha.json"
    if how == "folder":
        memory.mkdir()
    elif how == "fifo":
        os.mkfifo(memory)
    else:
        memory.write_text('{"telescopes": {"ast3-1"' if how == "torn" else "[1]")
    one.begin()
    one.settle()
    assert one.telescope()["works_here"]
    said = one.ha_log("ha.forgotten")
    assert len(said) == 1
    assert "state/ha.json" in said[0]
    one.works()


def test_a_second_agent_is_refused_in_a_line(node):
    for words in (["--foreground"], []):
        code, said = node.call(*words)
        (line,) = [line for line in said.splitlines() if line.startswith("ast3-ha: ")]
        assert code == 1
        assert str(node.agent.pid) in line
    assert node.telescope()["works_here"]


@contextmanager
def listening(port):
    with socket.create_server((ADDRESS, port)):
        yield


WRONG = {
    "no node": (lambda one: one.configure("{}"), 2, "ha.node is null"),
    "no cluster": (lambda one: one.configure("ha: {node: a}"), 2, "nodes"),
    "broken": (lambda one: one.configure("ha: [node]"), 2, "ast3d.yaml:"),
    "no file": (lambda one: (one.root / "etc" / "ast3d.yaml").unlink(), 2, "ast3d.yaml"),
    "no key": (lambda one: one.key.unlink(), 2, "the nodes' key cannot be read"),
    "short key": (lambda one: one.key.write_bytes(b"x" * 31), 2, "`openssl rand -hex 32` makes one"),
    "open key": (lambda one: one.key.chmod(0o604), 2, "chmod o="),
    "key is a folder": (lambda one: (one.key.unlink(), one.key.mkdir()), 2, "not a regular file"),
    "no such address": (lambda one: one.configure(one.config().replace("'127.0.0.1:", "'192.0.2.1:")), 1, "see nodes"),
    "no such port": (lambda one: one.configure(one.config().replace(f":{one.ports[0]}", ":99999")), 1, "99999"),
    "no run folder": (lambda one: (one.root / "run").write_text(""), 1, "run"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_with_a_configuration_is_one_line(make, what):
    spoil, expected, words = WRONG[what]
    one = make()
    spoil(one)
    ways = ([], ["--foreground"]) if what == "no key" else ([],)
    for how in ways:
        code, said = one.call(*how)
        lines = [line for line in said.splitlines() if line.startswith("ast3-ha: ")]
        assert (code, len(lines)) == (expected, 1), said
        assert words in lines[0]
        assert "Traceback" not in said
    assert expected == 2 or len(one.ha_log("daemon.not-started")) == len(ways)


def test_an_address_in_use_is_named(make):
    one = make()
    with listening(one.ports[0]):
        code, said = one.call()
    assert code == 1
    assert said.splitlines() == [
        f"ast3-ha: the other nodes cannot be answered at 127.0.0.1:{one.ports[0]}: Address already in use; see nodes"
    ]


@pytest.mark.parametrize("words", [["--config", "/nowhere"], ["--mood"], ["extra"]])
def test_a_wrong_call_is_the_callers(make, words):
    code, said = make().call(*words)
    assert code == 2
    assert said.splitlines()[-1].startswith("ast3-ha: ")


def test_an_unknown_key_is_said_and_ignored(make):
    one = make()
    one.configure(one.config() + "mood: good\n")
    one.begin()
    assert any("config.problem" in line and "mood" in line for line in one.errors())


def test_what_operators_ask(node):
    def asked(code, words, *call):
        answer = node.ha(*call)
        said = answer.stderr if code else answer.stdout
        assert answer.returncode == code, answer
        assert words in said
        assert not code or answer.stderr.count("\n") == 1
        return answer

    asked(0, "nothing moves", "plan")
    asked(0, "able: a", "what-if", "--down", "b")
    asked(1, "nobody would work for ast3-1", "what-if", "--down", "a")
    asked(1, "nobody", "what-if", "--down", "a", "--json")
    asked(1, "z", "what-if", "--down", "z")
    asked(1, "z is no node; there are a, b, c", "handover", "a", "--to", "z")
    asked(1, "x9 holds or is no telescope", "handover", "x9", "--to", "b")
    asked(1, "z is no node; there are a, b, c", "handback", "z")
    asked(0, "nothing is to move", "handback", "a")
    asked(0, "nothing is to move", "handover", "north", "--to", "a")
    before = node.telescope()
    asked(0, "ast3-1 -> b, as soon as b is able", "handover", "north", "--to", "b")
    node.wait(lambda: node.telescope()["ordered_to"] == "b", "etcd has the order")
    time.sleep(3.0)
    assert node.telescope() == before | {"ordered_to": "b"}, "b is not there"
    node.works()
    assert node.errors() == []


def test_a_handover_and_its_end(node, etcd):
    """The other node is a key in etcd, and does nothing."""
    etcd.ctl("put", "/ast3/node/b", json.dumps({"able": True, "reason": "", "telescopes": ["ast3-1"]}))
    node.wait(lambda: node.cluster()["nodes"]["b"]["state"] == "able", "seen")
    answer = node.ha("handover", "ast3-1", "--to", "b")
    assert answer.stdout == "ast3-1 -> b, when the frames at work have ended\n"
    node.wait(lambda: node.telescope()["holder"] == "b", "handed over")
    about = node.telescope()
    assert (about["owner"], about["epoch"], about["works_here"]) == ("a", 1, False)
    assert "stays until `ast3ctl ha handback a`" in node.ha("status").stdout
    node.wait(lambda: not node.status()["telescopes"], "let go")
    assert node.ha("handback", "a").stdout == "ast3-1 -> a, when the frames at work have ended\n"
    etcd.ctl("del", "/ast3/node/b")  # which never carries that out
    node.wait(lambda: node.telescope()["works_here"], "back")
    assert (node.telescope()["pinned"], etcd.ctl("get", "/ast3/order/ast3-1")) == (False, "")
    assert [len(node.ha_log(event)) for event in ("ha.released", "ha.returned")] == [1, 1]
    node.works()


GARBAGE = (
    b"\0\xff\n",
    b"{}\n",
    b"[1]\n",
    b'{"verb": "status", "args": [1]}\n',
    b'{"verb": "handover", "args": {"what": [1]}}\n',
    b'{"verb": "what-if", "args": {"down": [{}]}}\n',
    b"[" * 60_000 + b"\n",
    b"x" * 70_000,
)


def test_garbage_on_the_control_socket_harms_nobody(node):
    for line in GARBAGE:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE_SECONDS)
            client.connect(str(node.root / "run" / "ha.sock"))
            client.sendall(line)
            answer = b""
            while not answer.endswith(b"\n"):
                answer += client.recv(4096)
            assert json.loads(answer)["ok"] is False
            assert json.loads(answer)["error"]
    assert node.cluster()["quorum"]
    assert node.errors() == []
