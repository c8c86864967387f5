"""A third process, which looks all the time how many of each daemon are alive.

    python -m tests.protect.census below ROOT     the daemons whose --root that is
    python -m tests.protect.census machine PID    those of a site in a machine of its own, of which this is a process

One that has only begun, and will find the lock held, is not counted: an ast3d counts as soon as it has a segment of the
relog open for writing, a protectd as soon as it has its socket.  Each has one of its own, and a child that has not yet
become another program has that of its parent: so these are counted, not the processes.  It ends when its stdin does and
prints one JSON object: how often it looked, the most of each that it saw, and every instant at which it saw two of one.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[2]
SECONDS = 0.02  # between two looks
PATIENCE_SECONDS = 120.0
ENOUGH_LOOKS = 100  # at a process, until it is one that has nothing to do with this: none becomes a daemon after two seconds
FORGET_LOOKS = 500
_WRITING = os.O_WRONLY | os.O_RDWR


class CensusError(Exception):
    """It has seen nothing, so that nothing can be concluded."""


class Census:
    """The process, from `start` until it is asked for the `doubles`; `where`: its arguments."""

    def __init__(self, *where: str | Path) -> None:
        self._argv = [sys.executable, "-m", "tests.protect.census", *map(str, where)]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(self._argv, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def doubles(self) -> list[str]:
        """Each instant with two of one, in words.  CensusError where it has not seen one of each."""
        if self._process is None:
            return []
        said, _ = self._process.communicate("", timeout=PATIENCE_SECONDS)
        self._process = None
        told = json.loads(said)
        if not all(told["most"].values()):
            raise CensusError(f"the census looked {told['looks']} times, and has seen {told['most']}")
        return [f"two {double['daemon']} at {double['at']}: {double['has']}" for double in told["doubles"]]

    def close(self) -> None:
        """Whatever was seen."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Scope(NamedTuple):
    """Which processes are looked at, and where their files are, as they see them."""

    has: Callable[[int, list[str]], bool]
    relog: str
    run: str


def below(root: Path) -> Scope:
    """Of the daemons with this root."""
    return Scope(lambda _pid, words: str(root) in words, f"{root}/state/relog/", f"{root}/run/")


def machine(leader: int) -> Scope:
    """Of the processes in another machine."""
    inside = _namespace(leader)
    return Scope(lambda pid, _words: _namespace(pid) == inside, "/var/lib/ast3/state/relog/", "/run/ast3/")


def _namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def main() -> None:
    """Look until stdin ends, once at least."""
    kind, where = sys.argv[1:]
    scope = below(Path(where).resolve()) if kind == "below" else machine(int(where))
    looks, doubles, most = 0, [], {"ast3d": 0, "protectd": 0}
    strangers: dict[str, int] = {}
    while looks == 0 or not select.select([sys.stdin], [], [], SECONDS)[0]:
        looks += 1
        names = command_lines(scope, strangers)
        for daemon, mark in (("ast3d", segment), ("protectd", handshake)):
            alive = {mark(pid, scope): pid for pid, words in names.items() if is_daemon(words, daemon)}
            alive.pop("", None)
            most[daemon] = max(most[daemon], len(alive))
            if len(alive) > 1:
                doubles.append({"daemon": daemon, "has": alive, "at": time.clock_gettime(time.CLOCK_BOOTTIME)})
    print(json.dumps({"looks": looks, "most": most, "doubles": doubles}), flush=True)


def command_lines(scope: Scope, strangers: dict[str, int]) -> dict[int, list[str]]:
    """Of every process in the scope.  `strangers`: how often each of the others was looked at; most never change."""
    found = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        if (looks := strangers.get(name, 0)) >= ENOUGH_LOOKS:
            strangers[name] = looks + 1 if looks < FORGET_LOOKS else 0  # another process may have the number by then
            continue
        try:
            words = Path("/proc", name, "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if scope.has(int(name), words):
            found[int(name)] = words
        else:
            strangers[name] = looks + 1
    return found


def is_daemon(words: list[str], daemon: str) -> bool:
    """Whether a command line is that of one of our daemons, started as a command or as a module."""
    return any(Path(word).name == daemon or word == daemon for word in words[:4])


def segment(pid: int, scope: Scope) -> str:
    """The segment that it writes, if any: it is past its lock, and two of them would do harm."""
    for number, target in _open_files(pid):
        if target.startswith(scope.relog) and _flags(pid, number) & _WRITING:
            return target
    return ""


def handshake(pid: int, scope: Scope) -> str:
    """The socket by which it takes part in the handshake, if any."""
    try:
        lines = Path("/proc", str(pid), "net", "unix").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    ours = {
        words[6]
        for words in map(str.split, lines)
        if len(words) > 7 and words[7].startswith(scope.run) and "protectd.hand" in words[7]
    }
    return next((target for _, target in _open_files(pid) if target.startswith("socket:[") and target[8:-1] in ours), "")


def _open_files(pid: int) -> list[tuple[str, str]]:
    folder = Path("/proc", str(pid), "fd")
    try:
        return [(name, str((folder / name).readlink())) for name in os.listdir(folder)]
    except OSError:  # it has ended, or has just closed one: the next look comes soon
        return []


def _flags(pid: int, number: str) -> int:
    try:
        lines = Path("/proc", str(pid), "fdinfo", number).read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1], 8) for line in lines if line.startswith("flags:")), 0)


if __name__ == "__main__":
    main()
