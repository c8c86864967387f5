"""The relog's folder on a disk that can lose power at any instant.

What was written and not synced is in the page cache: a kill leaves it, a power cut leaves any of its 512-byte sectors.
What was created, renamed or removed and not synced is there or not.  After a failed sync nobody tries those sectors again.
"""

import errno
import os
from collections.abc import Callable
from random import Random

SECTOR = 512
PAGE = 4096


class CrashError(BaseException):
    """ast3d ends here, or the whole machine: no product code may catch it."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Inode:
    """One file: what a reader sees, what the platter has, and which sectors differ."""

    __slots__ = ("cache", "dirty", "fresh", "platter")

    def __init__(self, size: int) -> None:
        self.cache = bytearray(size)
        self.platter = bytearray(size)
        self.dirty: set[int] = set()
        self.fresh = True  # not even its size is durable

    def write_back(self, sectors: list[int]) -> None:
        for sector in sectors:
            start = sector * SECTOR
            self.platter[start : start + SECTOR] = self.cache[start : start + SECTOR]


class SimDisk:
    """The `Disk` of `ast3d.common.relog.disk`, with its faults.

    `point` is called before and after everything that changes the disk: there the daemon may end.  `struck` is called with
    the name of a fault that takes effect.
    """

    def __init__(self, rng: Random, point: Callable[[str], None], struck: Callable[[str], None]) -> None:
        self.rng, self.point, self.struck = rng, point, struck
        self.files: dict[str, Inode] = {}
        self.durable: dict[str, Inode] = {}
        self.changes: list[tuple[str, str, Inode | None]] = []  # (old or "", new or "", inode): not synced
        self.handles: dict[int, Inode] = {}
        self.next_handle = 3
        self.trouble = ""  # or `full`, or `dead`
        self.told = False  # that it is
        self.sync_errors = self.write_errors = self.read_errors = 0  # so many of the next calls fail

    # --- the protocol

    def names(self) -> list[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        content = self._inode(name).cache
        if self.read_errors and content:
            self.read_errors -= 1
            self.struck("read_error")
            if self.rng.random() < 0.3:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            start = self.rng.randrange(0, len(content), PAGE)
            return bytes(content[:start]) + b"\xff" * len(content[start : start + PAGE]) + bytes(content[start + PAGE :])
        return bytes(content)

    def create(self, name: str, size: int) -> None:
        self._change("create", room=True)
        inode = self.files[name] = Inode(size)
        self.changes.append(("", name, inode))
        self.point(f"after create {name}")

    def open(self, name: str) -> int:
        self.next_handle += 1
        self.handles[self.next_handle] = self._inode(name)
        return self.next_handle

    def write(self, handle: int, offset: int, data: bytes) -> None:
        inode = self.handles[handle]
        self._change("write", room=True)
        try:
            self.point("in write")
        except CrashError:
            self._store(inode, offset, data[: self.rng.randrange(len(data) + 1)])
            raise
        if self.write_errors:
            self.write_errors -= 1
            self.struck("write_error")
            self._store(inode, offset, data[: self.rng.randrange(len(data) + 1)])
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._store(inode, offset, data)
        self.point("after write")

    def sync(self, handle: int) -> None:
        inode = self.handles[handle]
        self.point("before sync")
        if self.trouble == "dead":
            self._lose(inode)
            self._refuse(errno.EIO)
        if self.sync_errors:
            self.sync_errors -= 1
            self.struck("sync_error")
            self._lose(inode)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        inode.write_back(list(inode.dirty))
        inode.dirty.clear()
        inode.fresh = False
        self.point("after sync")

    def close(self, handle: int) -> None:
        del self.handles[handle]

    def rename(self, old: str, new: str) -> None:
        self._change("rename", room=False)
        inode = self._inode(old)
        del self.files[old]
        self.files[new] = inode
        self.changes.append((old, new, inode))
        self.point(f"after rename {new}")

    def copy(self, old: str, new: str) -> None:
        self._change("copy", room=True)
        inode = Inode(0)
        inode.cache, inode.platter, inode.fresh = bytearray(self.read(old)), bytearray(self.read(old)), False
        self.files[new] = inode
        self.changes.append(("", new, inode))
        self.sync_folder()

    def remove(self, name: str) -> None:
        self._change("remove", room=False)
        self._inode(name)
        del self.files[name]
        self.changes.append((name, "", None))
        self.point(f"after remove {name}")

    def sync_folder(self) -> None:
        self._change("sync folder", room=False)
        self.durable = dict(self.files)
        self.changes.clear()
        self.point("after sync folder")

    # --- what happens to it

    def kill(self) -> None:
        """The process ends; the page cache stays."""
        self.handles.clear()

    def cut_power(self) -> None:
        """Any of the unsynced sectors are there; of the unsynced changes of the folder a beginning, or any."""
        self.handles.clear()
        rng = self.rng
        inodes = {id(i): i for i in (*self.durable.values(), *self.files.values(), *(i for _, _, i in self.changes if i))}
        for inode in inodes.values():
            if inode.dirty:
                share = rng.choice((0.0, 0.5, 0.5, 0.9, 1.0))
                inode.write_back([sector for sector in sorted(inode.dirty) if rng.random() < share])
                inode.dirty.clear()
            if inode.fresh and rng.random() < 0.5:
                inode.platter = bytearray()
            inode.fresh = False
            inode.cache = bytearray(inode.platter)
        if rng.random() < 0.5:
            kept = self.changes[: rng.randrange(len(self.changes) + 1)]
        else:
            kept = [change for change in self.changes if rng.random() < 0.5]
        for old, new, inode in kept:
            if old and old not in self.durable:
                continue
            self.durable.pop(old, None)
            if new and inode:
                self.durable[new] = inode
        self.changes.clear()
        self.files = dict(self.durable)

    def sync_all(self) -> None:
        """An orderly end of the machine."""
        for inode in self.files.values():
            inode.write_back(list(inode.dirty))
            inode.dirty.clear()
            inode.fresh = False
        self.durable = dict(self.files)
        self.changes.clear()

    def begin(self, trouble: str) -> None:
        """From now on the disk is `full`, or `dead`."""
        self.trouble = trouble
        self.told = False

    def end(self) -> None:
        self.trouble = ""

    def _refuse(self, number: int) -> None:
        if not self.told:
            self.told = True
            self.struck(f"disk_{self.trouble}")
        raise OSError(number, os.strerror(number))

    def heal(self) -> None:
        """No more faults."""
        self.trouble = ""
        self.sync_errors = self.write_errors = self.read_errors = 0

    def _change(self, what: str, *, room: bool) -> None:
        self.point(f"before {what}")
        if self.trouble == "dead":
            self._refuse(errno.EROFS)
        if self.trouble == "full" and room:
            self._refuse(errno.ENOSPC)

    def _inode(self, name: str) -> Inode:
        try:
            return self.files[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None

    def _store(self, inode: Inode, offset: int, data: bytes) -> None:
        end = offset + len(data)
        for content in (inode.cache, inode.platter):
            if end > len(content):
                content.extend(bytes(end - len(content)))
        inode.cache[offset:end] = data
        inode.dirty.update(range(offset // SECTOR, -(-end // SECTOR)))

    def _lose(self, inode: Inode) -> None:
        """A sync failed: some sectors were written, none will be tried again; the cache has them still, or not."""
        inode.write_back([sector for sector in sorted(inode.dirty) if self.rng.random() < 0.3])
        inode.dirty.clear()
        if self.rng.random() < 0.5:
            inode.cache = bytearray(inode.platter)
