"""Time.  Intervals are `CLOCK_BOOTTIME` seconds and mean nothing under another boot id.

Wall time is for display only, and this is the one module that may read it.
"""

import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boottime() -> float:
    """Seconds since the kernel started, suspension included; never goes back within one boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def boot_id() -> str:
    """The kernel's name for this boot: boottimes compare only under the same one."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


def utc_now() -> datetime:
    """The wall clock, for people: it may jump either way."""
    return datetime.now(UTC)


def stamp() -> str:
    """The wall clock as logs and reports show it: `2026-06-21T03:14:15.926Z`."""
    return utc_now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
