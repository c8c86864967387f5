"""Who is the one ast3d, and how many came before it: see `protectd.lock`.  A lock that somebody removes is made anew."""

import contextlib
import fcntl
import os
from pathlib import Path

from protectd.lock import AlreadyRunningError, sign, take

__all__ = ["AlreadyRunningError", "Lock"]


class Lock:
    """The lock, held from here on.  AlreadyRunningError, with the other's pid, or OSError where it cannot be had."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._fd, self.generation = take(path, "ast3d")
        except AlreadyRunningError as error:
            raise AlreadyRunningError(f"{error}; `ast3ctl status` asks it how it is") from error
        sign(self._fd, self.generation)

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
        self._fd = fd
        sign(fd, self.generation)
        return True
