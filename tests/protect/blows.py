"""What is done to daemons that guard each other, again and again, while frames come; and what came of it.

Times are what a bench judges.  What must never be is in `Outcome.wrong`, a line each.
"""

import random
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise

from ast3d.common.clock import boottime
from tests.protect.busy import DAEMONS, Busy, BusyError

PERIOD_SECONDS, MISSES = 0.25, 3
PATIENCE_SECONDS = PERIOD_SECONDS * MISSES
PROTECT = f"protect: {{period_seconds: {PERIOD_SECONDS:g}, misses: {MISSES}}}\n"
HOOKS = {"AST3_FAULTS": "1"}  # see `protectd.faults`
HANGS = {"stopped": signal.SIGSTOP, "spinning": signal.SIGUSR1, "deadlocked": signal.SIGUSR2}
LIVES_SECONDS = 1.0  # a daemon lives at most so long before the next blow
LONGEST_PAUSE_SECONDS = 61.0


@dataclass(frozen=True)
class Outcome:
    """`times`: from each blow until the daemon was up again; `frames`: how many there were meanwhile."""

    times: list[float]
    wrong: list[str]
    frames: int

    def __str__(self) -> str:
        wrong = f"{len(self.wrong)} wrong, such as: {self.wrong[0]}" if self.wrong else "lost or doubled 0, two of one 0"
        return f"{self.frames} frames; {wrong}"


def kills(node: Busy, n: int) -> Outcome:
    """SIGKILL of the one, of the other, of either at random."""
    random_, times = random.Random(1), []
    for number in range(n):
        daemon = DAEMONS[number % 3] if number % 3 < len(DAEMONS) else random_.choice(DAEMONS)
        times.append(_strike(node, random_, daemon, signal.SIGKILL))
    return Outcome(times, node.settle(), node.fed)


def hangs(node: Busy, how: signal.Signals, n: int) -> Outcome:
    """It lives and does nothing any more: one, then the other."""
    random_ = random.Random(2)
    times = [_strike(node, random_, DAEMONS[number % len(DAEMONS)], how) for number in range(n)]
    return Outcome(times, node.settle(), node.fed)


def _strike(node: Busy, random_: random.Random, daemon: str, how: signal.Signals) -> float:
    node.wait_up()
    time.sleep(random_.uniform(0.0, LIVES_SECONDS))  # at any point of its life
    struck, pids = node.strike(daemon, how=how)
    return node.wait_other(daemon, pids[daemon]) - struck


def stalls(node: Busy, n: int, starving: Callable[[], AbstractContextManager[None]]) -> Outcome:
    """Starved for 2 to 5 times as long as a hung one would be left alone: nobody may be replaced for that."""
    random_, replaced = random.Random(3), []
    for number in range(n):
        node.wait_up()
        before = {daemon: node.pid(daemon) for daemon in DAEMONS}
        with starving():
            time.sleep(random_.uniform(2.0, 5.0) * PATIENCE_SECONDS)
        node.wait_up()
        time.sleep(PATIENCE_SECONDS)  # who is replaced late is replaced too
        others = [daemon for daemon, pid in before.items() if node.pid(daemon) != pid]
        replaced += [f"{daemon} was replaced in stall {number}" for daemon in others]
    return Outcome([], replaced + node.settle(), node.fed)


def crashes(node: Busy, n: int) -> Outcome:
    """An ast3d that cannot start, for a file is where a folder of its must be; then it can.  `times`: between the starts."""
    folder, aside = node.root / "templates", node.root / "templates.aside"
    folder.rename(aside)
    folder.touch()
    starts, end = [node.last_start("ast3d")], boottime() + LONGEST_PAUSE_SECONDS * n
    node.strike("ast3d")
    while len(starts) <= n:
        if (at := node.last_start("ast3d")) != starts[-1]:
            starts.append(at)
        if boottime() > end:
            raise BusyError(f"only {len(starts) - 1} starts in {LONGEST_PAUSE_SECONDS * n:.0f} s")
        time.sleep(0.01)
    folder.unlink()
    aside.rename(folder)
    node.wait_up()
    gaps = [later - sooner for sooner, later in pairwise(starts[1:])]
    close = [f"two starts {gap:.2f} s apart" for gap in gaps if gap < 1.0]
    return Outcome(gaps, close + node.settle(), node.fed)
