"""Processes by name that cannot lie: pid, start time and boot id together, and pidfds to watch them by."""

import contextlib
import os
import signal
from pathlib import Path

NICENESS = 10  # of what works on frames: the daemon comes first
GENERATIONS = 20  # of children of children that are followed


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot; 0 where there is none of that pid."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[19])


def watch(pid: int, ticks: int) -> int | None:
    """A pidfd that becomes readable when the process ends, or None where it has ended already."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    if start_ticks(pid) != ticks:  # the pid names another process now
        os.close(fd)
        return None
    return fd


def give_way() -> None:
    """This process, and all that it forks, computes with what others leave of the cores: ast3d is up again at once.

    Where the kernel shares the cores between sessions, this says so for this session too; where it does not, nice is enough.
    """
    with contextlib.suppress(PermissionError):  # it is nicer already
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS), encoding="ascii")


def children(pid: int) -> list[int]:
    """The children of a process, those of all its threads."""
    found: list[int] = []
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in file.read_text(encoding="ascii").split()]
        except OSError:  # the thread has ended
            continue
    return found


def kill_group(group: int, number: int) -> bool:
    """Send a signal to a process group; False where there is none."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def kill_tree(pid: int) -> None:
    """SIGKILL a worker's process group and whatever of its descendants has left it.

    The descendants first, as long as the worker still adopts what is orphaned.
    """
    for _ in range(GENERATIONS):
        strays = [stray for child in children(pid) for stray in (child, *children(child))]
        for stray in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(stray, signal.SIGKILL)
        if not strays:
            break
    kill_group(pid, signal.SIGKILL)


def end_strays(keep: frozenset[int] = frozenset()) -> int:
    """SIGKILL and reap every child of this process but those to keep, until none is left; -> how many.

    The caller is a subreaper: the children of what is killed become its own, and are killed in turn.
    """
    ended = 0
    while strays := [pid for pid in children(os.getpid()) if pid not in keep]:
        for pid in strays:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue
            ended += 1
    return ended
