"""Who is the one protectd: the holder of a record lock on `RUN/protectd.lock`, as long as it lives.

The file says "PID GENERATION", for people.
"""

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path

MOST_DIGITS = 15  # of a generation


class AlreadyRunningError(Exception):
    """Another protectd holds the lock."""


class Lock:
    """The lock, held from here on.  Raises AlreadyRunningError, with the other's pid, or OSError where it cannot be had."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = _open(path)
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            pid = (_words(self._fd) or ["unknown"])[0]
            os.close(self._fd)
            raise AlreadyRunningError(f"protectd runs here already, pid {pid}") from error
        before = _words(self._fd)
        self.generation = _generation(before)
        text = f"{os.getpid()} {self.generation}\n".encode()
        with contextlib.suppress(OSError):  # a full disk keeps nobody down
            os.pwrite(self._fd, text, 0)
            os.ftruncate(self._fd, len(text))

    def still_held(self) -> bool:
        """Whether the name still means the file that is locked; else another protectd may run."""
        try:
            there = self._path.stat()
        except OSError:
            return False
        held = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)


def _words(fd: int) -> list[str]:
    """Of the first line."""
    return os.pread(fd, 100, 0).partition(b"\n")[0].decode("ascii", "replace").split()


def _generation(before: list[str]) -> int:
    """The next one."""
    told = before[1] if len(before) > 1 else ""
    return int(told) + 1 if told.isdecimal() and len(told) <= MOST_DIGITS else 1


def _open(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it must be a plain file: move it away", str(path))
    return fd
