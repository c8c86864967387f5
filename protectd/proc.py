"""Looks at /proc.  A process is named by (pid, start ticks): a pid alone names nobody.

What is seen of a process that gets too little was measured on Linux 6.18:
throttled to 5 % by a cgroup it is R in every look, its CPU time grows by 0.05 s a second and its run delay by most of the
rest, in steps of 0.1 s; writing to a frozen ext4 it is D in every look and nothing grows, and no signal ends it before the
thaw. A process that waits for ever is S, and not one nanosecond of either is added; one that only sleeps until its next turn
is S too, and with each turn both grow: that is how the two are told apart.
"""

import os
import time
from typing import NamedTuple

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_CPU_CLOCK = 2  # CPUCLOCK_SCHED: the clock of a whole process, to the nanosecond (Linux, kernel/time/posix-cpu-timers.c)


class Look(NamedTuple):
    """Start ticks, state letter, and seconds so far of CPU (all threads) and of waiting for a CPU (the main thread)."""

    ticks: int
    state: str
    cpu: float
    delay: float


def look(pid: int, ticks: int | None = None) -> Look | None:
    """How the process is; None where there is none of that pid, or it is not the one that started at `ticks`.

    Raises OSError where it cannot be known.
    """
    try:
        state, started, cpu = _stat(pid)
        delay = _run_delay(pid)
        exact = _exact_cpu(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    if ticks is not None and started != ticks:
        return None
    return Look(started, state, cpu if exact is None else exact, delay)


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot; 0 where there is none."""
    seen = look(pid)
    return seen.ticks if seen else 0


def _stat(pid: int) -> tuple[str, int, float]:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return fields[0].decode("ascii"), int(fields[19]), (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


def _run_delay(pid: int) -> float:
    """0 where the kernel was built without it: then only the CPU time tells."""
    try:
        return int(_read(pid, "schedstat").split()[1]) / 1e9
    except (FileNotFoundError, IndexError):
        return 0.0


def _exact_cpu(pid: int) -> float | None:
    """To the nanosecond, where `stat` has hundredths of a second; None where the kernel does not tell."""
    try:
        return time.clock_gettime(~pid << 3 | _CPU_CLOCK)
    except OSError:  # it has ended, and `stat` was the last that is known of it
        return None


def _read(pid: int, name: str) -> bytes:
    fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)
