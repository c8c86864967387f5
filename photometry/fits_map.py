"""The first image of a FITS file: its pixels stay in the file, or come whole where they must be unpacked."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.io import fits

from photometry.errors import BadFrameError
from photometry.file_plane import FilePlane
from photometry.fits_bytes import open_regular
from photometry.fits_guard import Cards, find_raw, image_shape, integer, require_size, string
from photometry.fits_pixels import read_header, read_pixels
from photometry.fits_sums import ones_sum

_DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
_MOST = 1e30  # of a scale or a zero point, whose counts are to be float32
_ROWS = 512  # read at a time for a checksum


@dataclass(frozen=True)
class Pixels:
    """values, a FilePlane or an array (ny, nx): `scale` times them plus `zero`; what equals `blank` has no value."""

    values: Any
    scale: float
    zero: float
    blank: int | None
    header: fits.Header
    notes: list[str]


@contextlib.contextmanager
def open_pixels(path: str | bytes | os.PathLike[str], max_megapixels: float) -> Iterator[Pixels]:
    """The pixels can be used until the end of the context.

    BadFrameError: torn, not FITS, too large, damaged.  EnvironmentFailedError: an I/O error, memory, no such file.
    """
    with open_regular(path) as file:
        raw = find_raw(file, max_megapixels)
        hdu = raw.hdu
        if hdu.offset is None:
            values, header, notes = read_pixels(path, max_megapixels)
            yield Pixels(values, 1.0, 0.0, None, header, notes)
            return
        shape = require_size(image_shape(hdu.cards), max_megapixels)
        plane = FilePlane(file.fileno(), hdu.offset, shape, np.dtype(_DTYPES[integer(hdu.cards, "BITPIX")]))
        header = read_header(hdu.header, raw.primary)
        notes = ["the file holds more images: only the first is processed"] if raw.more_images else []
        if "DATASUM" in hdu.cards and _sum(plane) != _number(string(hdu.cards, "DATASUM")):
            notes.append("CHECKSUM or DATASUM does not fit: the file was changed after it was written")
        blank = integer(hdu.cards, "BLANK") if "BLANK" in hdu.cards and plane.dtype.kind != "f" else None
        yield Pixels(plane, _real(hdu.cards, "BSCALE", 1.0), _real(hdu.cards, "BZERO", 0.0), blank, header, notes)


def _real(cards: Cards, name: str, default: float) -> float:
    """The card's number, read without astropy, which raises what it likes on hostile bytes."""
    words = cards.get(name)
    try:
        value = default if words is None else float(words.upper().replace("D", "E"))
    except ValueError:
        value = np.nan
    if not abs(value) < _MOST:
        raise BadFrameError(f"not valid FITS: {name} says {ascii(words)[:30]}, a number below {_MOST:.0e} is needed")
    return value


def _number(words: str) -> int | None:
    return int(words) if words.isdecimal() else None


def _sum(plane: FilePlane) -> int:
    """DATASUM of the plane's bytes."""
    total = 0
    rest = np.zeros(0, np.uint8)
    for y0 in range(0, plane.shape[0], _ROWS):
        part = np.concatenate([rest, plane[y0 : y0 + _ROWS].view(np.uint8).ravel()])
        whole = part.size // 4 * 4
        total, rest = ones_sum(part[:whole], total), part[whole:]
    return ones_sum(np.concatenate([rest, np.zeros(-rest.size % 4, np.uint8)]), total)
