"""One folder of files, as the relog needs it: everything it asks of the operating system.

Every call raises the OSError of what failed.  A simulation has a driver of its own.
"""

import errno
import os
from pathlib import Path
from typing import Protocol

from ast3d.common.files import sync_dir, write_durable

_PAGE = 4096
_MOST_BYTES = 1 << 28  # no segment is as long; a file that is should not fill the memory


class Disk(Protocol):
    """A folder; names are those of files in it."""

    def names(self) -> list[str]:
        """The regular files in the folder; what else lies there is nobody's."""

    def read(self, name: str) -> bytes:
        """The whole file; bytes that the disk cannot read come as something that is no record."""

    def create(self, name: str, size: int) -> None:
        """A new file of zeros that has its room on the disk; it replaces an old one."""

    def open(self, name: str) -> int:
        """A handle for writing."""

    def write(self, handle: int, offset: int, data: bytes) -> None:
        """All of it, or an error."""

    def sync(self, handle: int) -> None:
        """What was written is durable, in the file that has its name; after an error nothing is known of any of it."""

    def close(self, handle: int) -> None:
        """The handle is of no use any more, whatever is raised."""

    def rename(self, old: str, new: str) -> None:
        """Replaces `new`."""

    def copy(self, old: str, new: str) -> None:
        """A durable copy."""

    def remove(self, name: str) -> None:
        """One file less."""

    def sync_folder(self) -> None:
        """What was created, renamed and removed is durable."""


class OsDisk:
    """The real one.  The folder is made when the first file is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: dict[int, tuple[str, int]] = {}  # handle -> name and size

    def names(self) -> list[str]:
        try:
            with os.scandir(self._folder) as entries:
                return [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes:
        fd = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            size = min(os.fstat(fd).st_size, _MOST_BYTES)
            return _read(fd, 0, size)
        finally:
            os.close(fd)

    def create(self, name: str, size: int) -> None:
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True)
            sync_dir(self._folder.parent)
        path = self._folder / name
        path.unlink(missing_ok=True)  # truncated, it would keep what the kernel knows of failed writes
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(fd, 0, size)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(fd)

    def open(self, name: str) -> int:
        handle = os.open(self._folder / name, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        self._opened[handle] = name, os.fstat(handle).st_size
        return handle

    def write(self, handle: int, offset: int, data: bytes) -> None:
        while data:
            count = os.pwrite(handle, data, offset)
            data, offset = data[count:], offset + count

    def sync(self, handle: int) -> None:
        os.fdatasync(handle)
        name, size = self._opened[handle]
        ours, named = os.fstat(handle), (self._folder / name).lstat()
        if (ours.st_dev, ours.st_ino, ours.st_size) != (named.st_dev, named.st_ino, size):
            raise OSError(errno.ESTALE, "somebody replaced or cut it")

    def close(self, handle: int) -> None:
        del self._opened[handle]
        os.close(handle)

    def rename(self, old: str, new: str) -> None:
        (self._folder / old).rename(self._folder / new)
        for handle, (name, size) in self._opened.items():
            if name == old:
                self._opened[handle] = new, size

    def copy(self, old: str, new: str) -> None:
        write_durable(self._folder / new, self.read(old))

    def remove(self, name: str) -> None:
        (self._folder / name).unlink()

    def sync_folder(self) -> None:
        sync_dir(self._folder)


def _read(fd: int, start: int, stop: int) -> bytes:
    """The bytes from `start` to `stop`, fewer if the file ends; pages that the disk cannot read come as 0xFF."""
    parts = []
    while start < stop:
        try:
            part = os.pread(fd, stop - start, start)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            part = _read_page(fd, start, stop)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _read_page(fd: int, start: int, stop: int) -> bytes:
    count = min(_PAGE - start % _PAGE, stop - start)
    try:
        return os.pread(fd, count, start)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b"\xff" * count
