"""The relog's folder, with all that a disk could give back instead of what it was last given.

`KeepingDisk` is written by the real relog; `image` is what may be found after a power cut.  `ImageDisk` is a folder that
holds such an image, for the process that finds it.
"""

import errno
import os
from random import Random

SECTOR = 512


class StopError(BaseException):
    """The process ends in the middle of a call: no product code may catch it."""


class Inode:
    """One file: what a reader sees, what the platter has, which sectors differ, what the platter had there before."""

    def __init__(self, number: int, size: int) -> None:
        self.number = number
        self.cache = bytearray(size)
        self.platter = bytearray(size)
        self.dirty: set[int] = set()
        self.fresh = True  # not even its size is durable
        self.older: dict[int, list[bytes]] = {}

    def write_back(self, sectors: list[int]) -> None:
        for sector in sectors:
            place = slice(sector * SECTOR, (sector + 1) * SECTOR)
            before, after = bytes(self.platter[place]), bytes(self.cache[place])
            if before != after:
                older = self.older.setdefault(sector, [])
                if before not in older:
                    older.append(before)
                self.platter[place] = after


class KeepingDisk:
    """The `Disk` of `ast3d.common.relog.disk`.  `failing` syncs are the next to fail; after `calls` calls it is over.

    While it is `full` no file can be made, so that the relog must reuse its own.
    """

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.files: dict[str, Inode] = {}
        self.durable: dict[str, Inode] = {}
        self.changes: list[tuple[str, str, Inode | None]] = []  # (old or "", new or "", inode): not synced
        self.handles: dict[int, Inode] = {}
        self.inodes = 0
        self.failing = 0
        self.calls = -1
        self.full = False

    # --- the protocol

    def names(self) -> list[str]:
        return sorted(self.files)

    def read(self, name: str) -> bytes:
        return bytes(self._inode(name).cache)

    def create(self, name: str, size: int) -> None:
        self._call()
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.inodes += 1
        inode = self.files[name] = Inode(self.inodes, size)
        self.changes.append(("", name, inode))

    def open(self, name: str) -> int:
        handle = max(self.handles, default=2) + 1
        self.handles[handle] = self._inode(name)
        return handle

    def write(self, handle: int, offset: int, data: bytes) -> None:
        self._call()
        inode = self.handles[handle]
        end = offset + len(data)
        assert end <= len(inode.cache), "a segment is preallocated"
        inode.cache[offset:end] = data
        inode.dirty.update(range(offset // SECTOR, -(-end // SECTOR)))

    def sync(self, handle: int) -> None:
        self._call()
        inode = self.handles[handle]
        if self.failing:
            self.failing -= 1
            inode.write_back([sector for sector in sorted(inode.dirty) if self.rng.random() < 0.5])
            inode.dirty.clear()
            if self.rng.random() < 0.5:
                inode.cache = bytearray(inode.platter)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        inode.write_back(sorted(inode.dirty))
        inode.dirty.clear()
        inode.fresh = False

    def close(self, handle: int) -> None:
        del self.handles[handle]

    def rename(self, old: str, new: str) -> None:
        self._call()
        inode = self.files[new] = self._inode(old)
        del self.files[old]
        self.changes.append((old, new, inode))

    def copy(self, old: str, new: str) -> None:
        self._call()
        self.inodes += 1
        inode = self.files[new] = Inode(self.inodes, 0)
        inode.cache, inode.platter, inode.fresh = bytearray(self.read(old)), bytearray(self.read(old)), False
        self.changes.append(("", new, inode))
        self.sync_folder()

    def remove(self, name: str) -> None:
        self._call()
        del self.files[name]
        self.changes.append((name, "", None))

    def sync_folder(self) -> None:
        self._call()
        self.durable = dict(self.files)
        self.changes.clear()

    # --- what may be found

    def unsynced(self) -> list[tuple[Inode, int]]:
        """All that a power cut may take or leave: sectors, and as sector -1 that a new file has its size."""
        inodes = {inode.number: inode for inode in (*self.durable.values(), *self.files.values())}
        inodes.update((inode.number, inode) for _, _, inode in self.changes if inode)
        return [
            (inode, sector)
            for number, inode in sorted(inodes.items())
            for sector in (*([-1] if inode.fresh else []), *sorted(inode.dirty))
        ]

    def image(self, landed: int, changes: int) -> tuple[dict[str, bytes], dict[str, Inode]]:
        """The folder with the unsynced pieces whose bit is set in `landed`, and the first `changes` of its changes."""
        content: dict[int, bytearray] = {}
        empty: set[int] = set()
        for bit, (inode, sector) in enumerate(self.unsynced()):
            data = content.setdefault(inode.number, bytearray(inode.platter))
            there = landed >> bit & 1
            if sector < 0:
                if not there:
                    empty.add(inode.number)
            elif there:
                data[sector * SECTOR : (sector + 1) * SECTOR] = inode.cache[sector * SECTOR : (sector + 1) * SECTOR]
        names = dict(self.durable)
        for old, new, inode in self.changes[:changes]:
            names.pop(old, None)
            if new and inode:
                names[new] = inode
        return {
            name: b"" if inode.number in empty else bytes(content.get(inode.number, inode.platter))
            for name, inode in names.items()
        }, names

    def cut_power(self) -> None:
        """The machine goes down; a seeded choice of what was unsynced is there afterwards."""
        pieces = self.unsynced()
        files, names = self.image(self.rng.getrandbits(len(pieces) + 1), self.rng.randint(0, len(self.changes)))
        for name, inode in names.items():
            before, inode.cache = inode.platter, bytearray(files[name])
            inode.platter = before.ljust(len(inode.cache), b"\0")[: len(inode.cache)]
            inode.write_back(list(range(len(inode.cache) // SECTOR)))
            inode.dirty.clear()
            inode.fresh = False
        self.files, self.durable = dict(names), dict(names)
        self.changes.clear()
        self.kill()

    def kill(self) -> None:
        """The process ends; what it wrote is there."""
        self.handles.clear()
        self.calls, self.failing, self.full = -1, 0, False

    def _call(self) -> None:
        if not self.calls:
            raise StopError
        self.calls -= 1

    def _inode(self, name: str) -> Inode:
        try:
            return self.files[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None


class ImageDisk:
    """An image as a folder.  `unreadable` names files that give EIO, "." the folder itself, until they are healed."""

    def __init__(self, files: dict[str, bytes], unreadable: frozenset[str] = frozenset()) -> None:
        self.files: dict[str, bytes | bytearray] = dict(files)
        self.unreadable = unreadable
        self.handles: dict[int, str] = {}

    def names(self) -> list[str]:
        self._look(".")
        return list(self.files)

    def read(self, name: str) -> bytes:
        self._look(name)
        return bytes(self.files[name])

    def create(self, name: str, size: int) -> None:
        self._look(".")
        self.files[name] = bytearray(size)

    def open(self, name: str) -> int:
        self._look(name)
        handle = max(self.handles, default=2) + 1
        self.handles[handle] = name
        return handle

    def write(self, handle: int, offset: int, data: bytes) -> None:
        name = self.handles[handle]
        content = bytearray(self.files[name])
        content[offset : offset + len(data)] = data
        self.files[name] = content

    def sync(self, handle: int) -> None:
        assert handle in self.handles

    def close(self, handle: int) -> None:
        del self.handles[handle]

    def rename(self, old: str, new: str) -> None:
        self._look(old)
        self.files[new] = self.files.pop(old)
        self.handles = {handle: new if name == old else name for handle, name in self.handles.items()}

    def copy(self, old: str, new: str) -> None:
        self.files[new] = self.read(old)

    def remove(self, name: str) -> None:
        self._look(name)
        del self.files[name]

    def sync_folder(self) -> None:
        self._look(".")

    def _look(self, name: str) -> None:
        if name in self.unreadable:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if name != "." and name not in self.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
