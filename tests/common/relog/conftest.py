"""A folder in memory that fails when it is told to, and what was ever synced in it."""

import errno
import os

import pytest

BOOT = "c0ffee00-0000-4000-8000-000000000001"


class MemoryDisk:
    """`fails[(call, name)]` is a list of errnos, the next ones of that call; `room`: how many bytes there are, None: enough.

    `synced` is what each file held at its last sync, `calls` what was asked for.
    """

    def __init__(self):
        self.files = {}
        self.synced = {}
        self.fails = {}
        self.calls = []
        self.room = None
        self._open = {}
        self._next = 3

    def _call(self, call, name):
        self.calls.append((call, name))
        for key in ((call, name), (call, "*")):
            if self.fails.get(key):
                number = self.fails[key].pop(0)
                if number:
                    raise OSError(number, os.strerror(number))
        if call in {"read", "open", "copy", "remove", "rename"} and name not in self.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    @property
    def handles(self):
        return len(self._open)

    def names(self):
        self._call("names", ".")
        return list(self.files)

    def read(self, name):
        self._call("read", name)
        return bytes(self.files[name])

    def create(self, name, size):
        self._call("create", name)
        self.files.pop(name, None)
        if self.room is not None and sum(map(len, self.files.values())) + size > self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.files[name] = bytearray(size)
        self.synced[name] = bytes(size)

    def open(self, name):
        self._call("open", name)
        self._next += 1
        self._open[self._next] = name
        return self._next

    def write(self, handle, offset, data):
        name = self._open[handle]
        self._call("write", name)
        self.files[name][offset : offset + len(data)] = data

    def sync(self, handle):
        name = self._open[handle]
        self._call("sync", name)
        self.synced[name] = bytes(self.files[name])

    def close(self, handle):
        self._call("close", self._open.pop(handle))

    def rename(self, old, new):
        self._call("rename", old)
        self.files[new] = self.files.pop(old)
        self.synced[new] = self.synced.pop(old)
        self._open = {handle: new if name == old else name for handle, name in self._open.items()}

    def copy(self, old, new):
        self._call("copy", old)
        self.files[new] = bytearray(self.files[old])
        self.synced[new] = bytes(self.files[old])

    def remove(self, name):
        self._call("remove", name)
        del self.files[name]

    def sync_folder(self):
        self._call("sync_folder", ".")

    def segments(self):
        return sorted(name for name in self.files if name.endswith(".relog"))

    def of(self, files):
        """Another folder with these files."""
        disk = MemoryDisk()
        disk.files = {name: bytearray(data) for name, data in files.items()}
        disk.synced = {name: bytes(data) for name, data in files.items()}
        return disk


@pytest.fixture(scope="session")
def boot():
    return BOOT


@pytest.fixture
def disk():
    return MemoryDisk()


@pytest.fixture(scope="session")
def make_disk():
    return MemoryDisk
