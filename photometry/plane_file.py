"""A FITS file of planes that are written piece by piece; `finish` writes the headers, and then it is whole.

Guarantee: after `finish`, each plane is an image extension with EXTNAME, CHECKSUM and DATASUM behind an empty primary unit.
"""

import os
from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from photometry.file_plane import FilePlane
from photometry.fits_sums import NO_CHECKSUM, checksum, ones_sum

BLOCK, CARD, CARDS_A_BLOCK = 2880, 80, 36
SPARE_BLOCKS = 2  # of a header, for the cards that are known at the end
SUMMED_BYTES = 2880 * 1456  # 4 MB at a time


class PlaneFile:
    """planes: by name, in the order of the file, to be written through before `finish`.  OSError: no space, an I/O error."""

    def __init__(
        self, path: Path, shape: tuple[int, int], dtypes: Mapping[str, np.dtype[Any]], most_cards: Mapping[str, int]
    ) -> None:
        """dtypes: as in the file; most_cards: how many will be given at most for a plane, beyond the usual."""
        self._file = path.open("w+b")
        self._shape = shape
        self._places: dict[str, tuple[int, int]] = {}  # where each header begins, and its data
        place = BLOCK  # of the primary header
        for name, dtype in dtypes.items():
            header = BLOCK * (-(-most_cards.get(name, 0) // CARDS_A_BLOCK) + SPARE_BLOCKS)
            self._places[name] = place, place + header
            place += header + padded(shape[0] * shape[1] * dtype.itemsize)
        self._end = place
        os.ftruncate(self._file.fileno(), place)
        descriptor = self._file.fileno()
        self.planes = {name: FilePlane(descriptor, self._places[name][1], shape, dtypes[name]) for name in dtypes}

    def finish(self, headers: Mapping[str, fits.Header], threads: Executor, behind: bytes = b"") -> None:
        """Write each plane's header with its sums, `behind` the planes more units, and close the file."""
        with self._file as file:
            for name, total in zip(self.planes, threads.map(self._sum, self.planes), strict=True):
                start, data = self._places[name]
                file.seek(start)
                file.write(_unit(headers[name], self.planes[name].dtype, self._shape, data - start, total))
            file.seek(0)
            primary = fits.PrimaryHDU()
            primary.add_checksum()
            file.write(primary.header.tostring().encode())
            file.seek(self._end)
            file.write(behind)

    def _sum(self, name: str) -> int:
        """DATASUM of a plane."""
        size, total = padded(self._shape[0] * self._shape[1] * self.planes[name].dtype.itemsize), 0
        for place in range(0, size, SUMMED_BYTES):
            part = os.pread(self._file.fileno(), min(SUMMED_BYTES, size - place), self._places[name][1] + place)
            total = ones_sum(np.frombuffer(part, np.uint8), total)
        return total


def padded(size: int) -> int:
    """Bytes in whole blocks."""
    return -(-size // BLOCK) * BLOCK


def _unit(header: fits.Header, dtype: np.dtype[Any], shape: tuple[int, int], size: int, total: int) -> bytes:
    """The header of an image extension, `size` bytes long, with the sums; total: DATASUM."""
    bits = -32 if dtype.kind == "f" else 8 * dtype.itemsize
    first = fits.Header([
        ("XTENSION", "IMAGE", "an image"), ("BITPIX", bits), ("NAXIS", 2), ("NAXIS1", shape[1]), ("NAXIS2", shape[0]),
        ("PCOUNT", 0), ("GCOUNT", 1),
    ])  # fmt: skip
    first.extend(header, strip=False)
    first["DATASUM"] = (str(total), "of the data")
    first["CHECKSUM"] = (NO_CHECKSUM, "of the whole unit")
    first["CHECKSUM"] = checksum(ones_sum(np.frombuffer(_block(first, size), np.uint8), total))
    return _block(first, size)


def _block(header: fits.Header, size: int) -> bytes:
    """Cards, blank ones, END."""
    text = header.tostring(endcard=False, padding=False)
    return f"{text:<{size - CARD}}{'END':<{CARD}}".encode()
