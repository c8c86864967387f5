"""What starves a process without stopping it: a disk that does not answer, a CPU that is hardly ever its own.

Both need root, and are undone whatever happens.  NoStarvingError says what cannot be had here.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.powercut import disks

_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
_PERIOD_MICROSECONDS = 100_000


class NoStarvingError(Exception):
    """Here that cannot be done; the text says why."""


@contextmanager
def disk(folder: Path) -> Iterator[Path]:
    """A loop ext4 that can be frozen; its folder."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("mkfs.ext4", "fsfreeze"))):
        raise NoStarvingError("needs root, mkfs.ext4 and fsfreeze")
    folder.mkdir(parents=True)
    try:
        image = disks.make(folder, "ext4")
        with disks.mounted(image, "ext4") as place:
            yield place
    except OSError as error:
        raise NoStarvingError(str(error)) from error


@contextmanager
def frozen(place: Path) -> Iterator[None]:
    """Whoever writes there is in D state until this is over."""
    disks.run("fsfreeze", "-f", place)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "-u", place], check=False)


@contextmanager
def throttled(pids: list[int], percent: float) -> Iterator[None]:
    """These processes, and those that they make meanwhile, together have so much of one core."""
    group = _make_group(percent)
    try:
        for pid in pids:
            _move(group, pid)
        yield
    finally:
        for line in (group / "cgroup.procs").read_text().split():
            with suppress(OSError):
                _move(group.parent, int(line))
        with suppress(OSError):
            group.rmdir()


def _make_group(percent: float) -> Path:
    top = _V1 if (_V1 / "cpu.cfs_quota_us").exists() or (_V1 / "cgroup.procs").exists() else _V2
    group = top / f"starve-{os.getpid()}"
    quota = int(_PERIOD_MICROSECONDS * percent / 100)
    try:
        group.mkdir(exist_ok=True)
        if top == _V1:
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD_MICROSECONDS))
            (group / "cpu.cfs_quota_us").write_text(str(quota))
        else:
            (group / "cpu.max").write_text(f"{quota} {_PERIOD_MICROSECONDS}")
    except OSError as error:
        raise NoStarvingError(f"no cgroup can throttle here: {error}") from error
    return group


def _move(group: Path, pid: int) -> None:
    with suppress(ProcessLookupError):
        (group / "cgroup.procs").write_text(str(pid))
