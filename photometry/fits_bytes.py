"""The bytes of a file, plain or gzip, in order and only as many as are asked for.

Links, FIFOs and devices are refused: O_NOFOLLOW | O_NONBLOCK, then S_ISREG on the descriptor.  A gzip file is inflated step
by step, so that what it claims to hold can be checked before the rest is inflated.
"""

import errno
import os
import stat
import zlib
from pathlib import Path
from typing import BinaryIO

from photometry.errors import BadFrameError, EnvironmentFailedError

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_OTHER_PACKING = {
    b"BZh": "bzip2", b"\xfd7zX": "xz", b"\x1f\x9d": "compress", b"PK\x03\x04": "zip", b"\x28\xb5\x2f\xfd": "zstd",
}  # fmt: skip


class DamagedGzipError(BadFrameError):
    """The packed bytes are not what was packed."""


class Plain:
    """Bytes from an ordinary file whose size is known."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.left: int | None = os.fstat(file.fileno()).st_size

    def read(self, n: int) -> bytes:
        got = self._file.read(n)
        assert self.left is not None
        self.left -= len(got)
        return got

    def skip(self, n: int) -> int:
        assert self.left is not None
        n = min(n, self.left)
        self._file.seek(n, os.SEEK_CUR)
        self.left -= n
        return n

    def finish(self, most: int) -> None:
        """Nothing to check: a plain file has no checksum of its own here."""


class Gunzip:
    """Bytes from a gzip file, inflated only as far as they are asked for; members may follow each other."""

    left: int | None = None

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflate = zlib.decompressobj(wbits=31)

    def read(self, n: int) -> bytes:
        parts: list[bytes] = []
        while n > 0:
            part = self._some(min(n, _CHUNK))
            if not part:
                break
            parts.append(part)
            n -= len(part)
        return b"".join(parts)

    def skip(self, n: int) -> int:
        left = n
        while left > 0:
            part = self._some(min(left, _CHUNK))
            if not part:
                break
            left -= len(part)
        return n - left

    def finish(self, most: int) -> None:
        """Inflate up to `most` bytes more, for the checksum that stands at the end."""
        self.skip(most)

    def _some(self, n: int) -> bytes:
        """1..n bytes, or none at the end."""
        try:
            while True:
                packed = self._inflate.unconsumed_tail or self._file.read(1 << 16)
                if self._inflate.eof:
                    packed = self._inflate.unused_data or packed
                    if not packed.startswith(_GZIP):
                        return b""  # the end, or padding after it
                    self._inflate = zlib.decompressobj(wbits=31)
                if not packed:
                    raise DamagedGzipError("cut off: the gzip file ends in the middle of its data")
                part = self._inflate.decompress(packed, n)
                if part:
                    return part
        except zlib.error as error:
            raise DamagedGzipError(f"damaged gzip data: {error}") from error


Reader = Plain | Gunzip


def open_regular(path: str | bytes | os.PathLike[str]) -> BinaryIO:
    """A regular file, open for reading.  BadFrameError: anything else.  EnvironmentFailedError: it cannot be opened."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENXIO}:
            raise BadFrameError("not a regular file: a link or a device") from error
        raise EnvironmentFailedError(f"cannot open {shown_name(path)}: {error.strerror}") from error
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise BadFrameError("not a regular file: a directory, a FIFO or a device")
    return os.fdopen(fd, "rb")


def shown_name(path: str | bytes | os.PathLike[str]) -> str:
    """A path for one line of text: its last part, what cannot be printed escaped."""
    name = os.fsdecode(path)
    return ascii(Path(name).name)[1:-1]


def reader_of(file: BinaryIO) -> Reader:
    """By the file's first bytes.  BadFrameError: empty, or packed in another way."""
    start = file.read(8)
    file.seek(0)
    if not start:
        raise BadFrameError("empty: the file has 0 bytes")
    if start.startswith(_GZIP):
        return Gunzip(file)
    for magic, name in _OTHER_PACKING.items():
        if start.startswith(magic):
            raise BadFrameError(f"packed with {name}: only plain, gzip and tile-compressed FITS are read")
    return Plain(file)
