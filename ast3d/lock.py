"""Who is the one ast3d: the holder of a record lock, as long as it lives; and how many came before it.

Children do not inherit the lock.  Its file says "PID GENERATION", for people and for who counts; who holds it, the kernel
knows.
"""

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path

MOST_DIGITS = 15  # of a generation


class AlreadyRunningError(Exception):
    """Another ast3d holds the lock."""


class Lock:
    """The lock, held from here on.  AlreadyRunningError, with the other's pid, or OSError where it cannot be had."""

    def __init__(self, path: Path) -> None:
        self._path = path
        fd = _open(path)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            pid = (_words(fd) or ["unknown"])[0]
            os.close(fd)
            raise AlreadyRunningError(f"ast3d runs here already, pid {pid}; `ast3ctl status` asks it how it is") from error
        before = _words(fd)
        self.generation = _generation(before)
        self._keep(fd)

    def still_held(self) -> bool:
        """False where another ast3d may hold a lock of that name: this one must end.

        Where somebody removed the file, it is made anew; nobody took it meanwhile, or that one stays.
        """
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return self._make_anew()
        except OSError:  # it cannot be looked at, by nobody
            return True
        held = os.fstat(self._fd)
        return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)

    def _make_anew(self) -> bool:
        new = self._path.with_name(f".{self._path.name}.{os.urandom(4).hex()}")
        try:
            fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError:
            return True  # nobody else can either
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.link(new, self._path)
        except OSError as error:
            os.close(fd)
            return not isinstance(error, FileExistsError)
        finally:
            with contextlib.suppress(OSError):
                new.unlink()
        os.close(self._fd)  # of another file: what is held under the name stays held
        self._keep(fd)
        return True

    def _keep(self, fd: int) -> None:
        """One short write, and then the cut: who reads meanwhile finds the first line whole."""
        text = f"{os.getpid()} {self.generation}\n".encode()
        with contextlib.suppress(OSError):  # a full disk keeps nobody down
            os.pwrite(fd, text, 0)
            os.ftruncate(fd, len(text))
        self._fd = fd


def _words(fd: int) -> list[str]:
    """Of the first line."""
    first, _, _ = os.pread(fd, 100, 0).decode("ascii", "replace").partition("\n")
    return first.split()


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
