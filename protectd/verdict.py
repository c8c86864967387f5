"""What is wrong with a silent peer, of what was seen of it.  Pure.

From the silence since the peer was last heard (`quiet` seconds):
- stopped: T or t in the last two looks;
- spinning: it used a quarter of a core all the time; or it wanted a core for half of the time and, although others had most
  of it, used as much CPU as `misses` periods hold;
- deadlocked: S in every look of the last 1.5 periods, and neither its CPU time nor its run delay grew by a nanosecond: a
  loop that goes round, heard or not, does so once in a period.
A peer that is only starting has START_SECONDS before it can be spinning or deadlocked.  Whatever else it does, D above all,
it may come right by itself: it waits for a disk or for a core.
"""

from protectd.guard import Guard
from protectd.proc import TICKS_A_SECOND

START_SECONDS = 30.0
SPINNING = 0.25  # of a core
WANTING = 0.5  # of the time it ran or waited for a core
LOOKS_A_PERIOD = 4
LOOK_PERIODS = 1.5  # that the looks cover
FEWEST_LOOKS = 3


def wrong(guard: Guard, now: float) -> str:
    """What is wrong with a silent peer that cannot come right by itself; empty where there is no such thing to be seen."""
    if len(guard.looks) > 1 and all(seen.state in "Tt" for _, seen in guard.looks[-2:]):
        return "stopped"
    if _is_young(guard, now):
        return ""
    if _spins(guard, now):
        return "spinning"
    (first_at, first), (last_at, last) = guard.looks[0], guard.looks[-1]
    long = last_at - first_at >= guard.period * (LOOK_PERIODS - 0.5 / LOOKS_A_PERIOD) and len(guard.looks) >= FEWEST_LOOKS
    asleep = all(seen.state == "S" for _, seen in guard.looks)
    if long and asleep and (first.cpu, first.delay) == (last.cpu, last.delay):
        return "deadlocked"
    return ""


def _is_young(guard: Guard, now: float) -> bool:
    """It is only starting: it says so, or has said nothing and began a short time ago."""
    if guard.says == "starting":
        return guard.quiet(now) < START_SECONDS
    return not guard.says and now - guard.ticks / TICKS_A_SECOND < START_SECONDS


def _spins(guard: Guard, now: float) -> bool:
    assert guard.base is not None
    since, first = guard.base
    last = guard.looks[-1][1]
    used, seconds = last.cpu - first.cpu, max(now - since, guard.patience)
    wanted = used + last.delay - first.delay
    return used >= SPINNING * seconds or (used >= guard.patience and wanted >= WANTING * seconds)
