"""A switch and a network for each node, in namespaces of their own: what can happen to a network, and its undoing.

Each namespace is held by a keeper, a process that ends with its standard input: however the process that made the network
ends, the kernel ends the keepers, and with the last process in it a namespace is gone.  Nothing has a name outside, so two
networks never meet.  Wires are cut at the switch (the node sees no carrier); packets are dropped where they arrive, so
that a cut of one direction is one.
"""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Self

SUBNET = "10.77.0"
RUN_SECONDS = 20.0
_NEEDED = ("unshare", "nsenter", "ip", "nft")
_KEEP = "ip link set lo up; echo kept; read -r _ || true"


class NoNetworkError(Exception):
    """No network of its own can be made here: the text says what is missing."""


class Network:
    """Between `with` and its end: a switch, and for each of `names` an address that `address` tells."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._keepers: dict[str, subprocess.Popen[str]] = {}
        self._drops: set[tuple[str, str]] = set()
        self._loss: dict[str, int] = {}

    def __enter__(self) -> Self:
        demand_tools()
        with contextlib.ExitStack() as stack:
            stack.callback(self._end)
            self._switch = self._keep("")
            self._in_switch("ip", "link", "add", "name", "br0", "type", "bridge")
            self._in_switch("ip", "link", "set", "br0", "up")
            for name in self.names:
                self.connect(name)
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def address(self, name: str) -> str:
        """Of a node, for as long as the network is there."""
        return f"{SUBNET}.{self.names.index(name) + 1}"

    def enter(self, name: str) -> list[str]:
        """The words before those of a program that is to run in the node's network."""
        return ["nsenter", f"--net=/proc/{self._keepers[name].pid}/ns/net"]

    # --- a node's own

    def connect(self, name: str) -> None:
        """A new machine of that name: its address and its card are those of the last one, its sockets are not."""
        keeper, wire, number = self._keep(name), self._wire(name), self.names.index(name) + 1
        make = ("type", "veth", "peer", "name", "eth0", "address", f"02:00:0a:4d:00:{number:02x}", "netns", str(keeper.pid))
        self._in_switch("ip", "link", "add", "name", wire, *make)
        self._in_switch("ip", "link", "set", wire, "master", "br0", "up")
        run(*self.enter(name), "ip", "address", "add", f"{self.address(name)}/24", "dev", "eth0")
        run(*self.enter(name), "ip", "link", "set", "eth0", "up")
        self._filter(name)

    def lose(self, name: str) -> None:
        """The machine has no power: not even an end of a connection is told to the others."""
        self._in_switch("ip", "link", "delete", self._wire(name))
        _release(self._keepers.pop(name))

    def cut(self, name: str) -> None:
        """The wire is out."""
        self._in_switch("ip", "link", "set", self._wire(name), "down")

    def heal(self, name: str) -> None:
        """The wire is in again."""
        self._in_switch("ip", "link", "set", self._wire(name), "up")

    # --- between nodes

    def partition(self, *groups: Collection[str]) -> None:
        """Nodes hear those of their own group only, instead of whatever was cut between nodes before."""
        group = {name: number for number, names in enumerate(groups) for name in names}
        self._set_drops({(a, b) for a in group for b in group if group[a] != group[b]})

    def block(self, a: str, b: str) -> None:
        """No packet of a arrives at b; those of b arrive at a."""
        self._set_drops(self._drops | {(a, b)})

    def lossy(self, name: str, percent: int) -> None:
        """So many of the packets to a node are lost; 0: none."""
        self._loss[name] = percent
        self._filter(name)

    def clear(self) -> None:
        """Nothing is cut and nothing lost any more."""
        self._loss.clear()
        self._set_drops(set())
        for name in self._keepers:
            if name:
                self.heal(name)

    # --- how

    def _set_drops(self, drops: set[tuple[str, str]]) -> None:
        before, self._drops = self._drops, drops
        for name in {b for _, b in before ^ drops} | (set(self._keepers) - {""} if not drops else set()):
            self._filter(name)

    def _filter(self, name: str) -> None:
        """The rules of a node's own network, as they are to be now; all at once."""
        if name not in self._keepers:
            return  # it is off, and gets them with its next network
        rules = ["iif lo accept", *(f"ip saddr {self.address(a)} drop" for a, b in sorted(self._drops) if b == name)]
        if percent := self._loss.get(name):
            rules.append(f"numgen random mod 100 < {percent} drop")
        chain = "\n".join(["type filter hook input priority 0", *rules])
        text = f"add table ip cuts\ndelete table ip cuts\ntable ip cuts {{\nchain input {{\n{chain}\n}}\n}}\n"
        run(*self.enter(name), "nft", "-f", "-", given=text)

    def _keep(self, name: str) -> subprocess.Popen[str]:
        command = ["unshare", "--net", "sh", "-c", _KEEP]
        keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert keeper.stdout
        assert keeper.stderr
        if keeper.stdout.readline() != "kept\n":
            said = keeper.stderr.read().strip()
            _release(keeper)
            raise NoNetworkError(f"no network namespace: {said}")
        self._keepers[name] = keeper
        return keeper

    def _wire(self, name: str) -> str:
        """How the switch calls its end."""
        return f"v{self.names.index(name) + 1}"

    def _in_switch(self, *argv: str) -> None:
        run("nsenter", f"--net=/proc/{self._switch.pid}/ns/net", *argv)

    def _end(self) -> None:
        while self._keepers:
            _release(self._keepers.popitem()[1])


def demand_tools() -> None:
    """Raises NoNetworkError where no namespaces can be made."""
    if os.geteuid() != 0:
        raise NoNetworkError("networks of their own need root")
    if missing := [tool for tool in _NEEDED if not shutil.which(tool)]:
        raise NoNetworkError(f"not installed: {', '.join(missing)} (packages iproute2, nftables)")


@contextlib.contextmanager
def network(*names: str) -> Iterator[Network]:
    """One that is gone afterwards."""
    with Network(names) as net:
        yield net


def run(*argv: str | Path, given: str = "", seconds: float = RUN_SECONDS) -> str:
    """A program that must succeed; -> what it said.  Its words are the error's, an OSError."""
    done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, argv))}: {done.stderr.strip()}")
    return done.stdout


def _release(keeper: subprocess.Popen[str]) -> None:
    for pipe in (keeper.stdin, keeper.stdout, keeper.stderr):
        assert pipe
        pipe.close()
    try:
        keeper.wait(RUN_SECONDS)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
