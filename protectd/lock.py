"""Who is the one daemon of its name: the holder of a record lock on a file, as long as it lives.

The file says "PID GENERATION", for people and for who counts; who holds it, the kernel knows.  Children do not inherit it.
"""

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path

MOST_DIGITS = 15  # of a generation


class AlreadyRunningError(Exception):
    """Another daemon of the name holds the lock."""


class Lock:
    """A daemon's, held from here on.  Raises AlreadyRunningError, with the other's pid, or OSError: it cannot be had."""

    def __init__(self, path: Path, daemon: str) -> None:
        self._path = path
        self._fd, self.generation = take(path, daemon)
        sign(self._fd, self.generation)

    def still_held(self) -> bool:
        """Whether the name still means the file that is locked; else another protectd may run."""
        try:
            there = self._path.stat()
        except OSError:
            return False
        held = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)


def take(path: Path, daemon: str) -> tuple[int, int]:
    """-> the descriptor that holds the lock, and which one of its name this daemon is: one more than the file says.

    Raises AlreadyRunningError, with the other's pid, or OSError where the lock cannot be had.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "it must be a plain file: move it away", str(path))
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        pid, _ = _words(fd)
        os.close(fd)
        raise AlreadyRunningError(f"{daemon} runs here already, pid {pid or 'unknown'}") from error
    _, told = _words(fd)
    return fd, int(told) + 1 if told.isdecimal() and len(told) <= MOST_DIGITS else 1


def sign(fd: int, generation: int) -> None:
    """Say in the file who holds it.  One short write, and then the cut: who reads meanwhile finds the first line whole."""
    text = f"{os.getpid()} {generation}\n".encode()
    with contextlib.suppress(OSError):  # a full disk keeps nobody down
        os.pwrite(fd, text, 0)
        os.ftruncate(fd, len(text))


def _words(fd: int) -> tuple[str, str]:
    """Of the first line: the pid and the generation; empty where there is none."""
    words = os.pread(fd, 100, 0).partition(b"\n")[0].decode("ascii", "replace").split()
    return (*words, "", "")[0], (*words, "", "")[1]
