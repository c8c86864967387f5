"""The back-off of a daemon that does not get ready: its own first lines, from a small file of its starts.

After n starts in this boot that came to nothing the next begins not before 2^(n-1) seconds, a minute at most, after the
last. It is never given up.  A daemon that was ready and was killed starts at once.  A file that is absent, damaged or of
another boot is as no starts.
"""

import contextlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from protectd import files

LIMIT_SECONDS = 60.0


class Starts(NamedTuple):
    """`failed`: the starts in a row that were not followed by READY; `last`: the boottime of the last one."""

    failed: int = 0
    last: float = 0.0


def pause(failed: int) -> float:
    """Seconds from a start to the next one, after so many in a row that came to nothing."""
    return min(2.0 ** min(failed - 1, 16), LIMIT_SECONDS) if failed > 0 else 0.0


def wait_before(starts: Starts, now: float) -> float:
    """Seconds to wait before the next start."""
    if starts.last > now:  # not of this boot's clock
        return 0.0
    return max(starts.last + pause(starts.failed) - now, 0.0)


def begun(starts: Starts, now: float) -> Starts:
    """Another start, which may come to nothing."""
    return Starts(starts.failed + 1, now)


def read(path: Path, boot: str) -> Starts:
    """What is remembered of this boot."""
    told = files.read(path)
    failed, last = told.get("failed"), told.get("last")
    if told.get("boot") != boot or type(failed) is not int or type(last) not in {int, float}:
        return Starts()
    return Starts(failed, float(last or 0)) if failed >= 0 and 0 <= (last or 0) < math.inf else Starts()  # no NaN


def write(path: Path, starts: Starts, boot: str) -> None:
    """Remember.  Raises OSError."""
    files.replace(path, {"boot": boot, "failed": starts.failed, "last": starts.last})


def mark_ready(path: Path, boot: str) -> None:
    """This start came to something.  Raises OSError."""
    write(path, Starts(0, read(path, boot).last), boot)


def clear(path: Path) -> None:
    """Forget: a start on purpose begins at once.  Raises OSError where it cannot."""
    path.unlink(missing_ok=True)


def begin(path: Path, boot: str, clock: Callable[[], float], rest: Callable[[float, float], bool]) -> bool:
    """A daemon's first lines: wait as long as is due, then remember this start.

    `rest(seconds, until)` waits and says so to whoever listens; True from it means: give up, it was told to stop.
    Then this is False.  Where nothing can be remembered it starts at once: a full disk must not keep it down.
    """
    while (left := wait_before(read(path, boot), now := clock())) > 0.0:  # an operator may clear it meanwhile
        if rest(left, now + left):
            return False
    with contextlib.suppress(OSError):
        write(path, begun(read(path, boot), clock()), boot)
    return True
