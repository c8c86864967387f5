"""`python -m tests.protect.census ROOT SECONDS`: a third process, which looks all the time how many of each are alive.

One that has only begun, and will find the lock held, is not counted: an ast3d counts as soon as it has a segment of the
relog open for writing, a protectd as soon as it has its socket.  Each has one of its own, and a child that has not yet
become another program has that of its parent: so these are counted, not the processes.  It ends when its stdin does and
prints one JSON object: how often it looked, and every instant at which it saw two of one.
"""

import json
import os
import select
import sys
import time
from pathlib import Path

_WRITING = os.O_WRONLY | os.O_RDWR


def main() -> None:
    """Look until stdin ends, once at least."""
    root, seconds = Path(sys.argv[1]).resolve(), float(sys.argv[2])
    looks, doubles = 0, []
    while looks == 0 or not select.select([sys.stdin], [], [], seconds)[0]:
        looks += 1
        names = command_lines(root)
        for daemon, mark in (("ast3d", segment), ("protectd", handshake)):
            alive = {mark(pid, root): pid for pid, words in names.items() if is_daemon(words, daemon)}
            alive.pop("", None)
            if len(alive) > 1:
                doubles.append({"daemon": daemon, "has": alive, "at": time.clock_gettime(time.CLOCK_BOOTTIME)})
    print(json.dumps({"looks": looks, "doubles": doubles}), flush=True)


def command_lines(root: Path) -> dict[int, list[str]]:
    """Of every process that has this root among its words."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                words = Path("/proc", name, "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:
                continue
            if str(root) in words:
                found[int(name)] = words
    return found


def is_daemon(words: list[str], daemon: str) -> bool:
    """Whether a command line is that of one of our daemons, started as a command or as a module."""
    return any(Path(word).name == daemon or word == daemon for word in words[:4])


def segment(pid: int, root: Path) -> str:
    """The segment that it writes, if any: it is past its lock, and two of them would do harm."""
    for number, target in _open_files(pid):
        if target.startswith(f"{root}/state/relog/") and _flags(pid, number) & _WRITING:
            return target
    return ""


def handshake(pid: int, root: Path) -> str:
    """The socket by which it takes part in the handshake, if any."""
    try:
        lines = Path("/proc", str(pid), "net", "unix").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    ours = {
        words[6]
        for words in map(str.split, lines)
        if len(words) > 7 and "protectd.hand" in words[7] and str(root) in words[7]
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
