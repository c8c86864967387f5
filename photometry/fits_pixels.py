"""Pixels and header of the first image of a FITS file: the one place where astropy parses foreign bytes."""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from photometry.errors import BadFrameError, EnvironmentFailedError, PhotometryError
from photometry.fits_guard import BLOCK, RawImage, image_shape, read_raw, require_size
from photometry.fits_tiles import check_tiles

_STRUCTURE = {
    "SIMPLE", "XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "EXTEND", "PCOUNT", "GCOUNT", "CHECKSUM", "DATASUM",
    "COMMENT", "HISTORY", "",
}  # fmt: skip
_EMPTY_PRIMARY = b"".join(
    card.ljust(80)
    for card in (b"SIMPLE  =                    T", b"BITPIX  =                    8", b"NAXIS   =                    0",
                 b"EXTEND  =                    T", b"END")
).ljust(BLOCK)  # fmt: skip


def read_pixels(path: str | bytes | os.PathLike[str], max_megapixels: float) -> tuple[NDArray[Any], fits.Header, list[str]]:
    """(ny, nx) pixels as stored (BZERO, BSCALE applied), the header merged with the primary's, and notes.

    BadFrameError: torn, not FITS, too large, damaged.  EnvironmentFailedError: an I/O error, memory, no such file.
    """
    raw = read_raw(path, max_megapixels)
    try:
        return _decode(raw, max_megapixels)
    except MemoryError as error:
        raise EnvironmentFailedError("not enough memory for the frame") from error


def _decode(raw: RawImage, max_megapixels: float) -> tuple[NDArray[Any], fits.Header, list[str]]:
    hdu = raw.hdu
    shape = require_size(image_shape(hdu.cards, "Z" if hdu.compressed else ""), max_megapixels)
    if hdu.compressed:
        check_tiles(hdu)
    notes = ["the file holds more images: only the first is processed"] if raw.more_images else []
    start = b"" if hdu.header.startswith(b"SIMPLE") else _EMPTY_PRIMARY
    content = b"".join((start, hdu.header, hdu.data, bytes(-len(hdu.data) % BLOCK)))
    with _foreign(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with fits.open(io.BytesIO(content), memmap=False, checksum=True) as hdus:
            values, header = _read(hdus[-1], shape)
        _inherit(header, raw.primary)
    if any("hecksum" in str(warning.message) for warning in caught):
        notes.append("CHECKSUM or DATASUM does not fit: the file was changed after it was written")
    if values.dtype.kind not in "iuf":
        raise BadFrameError(f"not an image: pixels of type {values.dtype}")
    return values, header, notes


def _read(hdu: Any, shape: tuple[int, int]) -> tuple[NDArray[Any], fits.Header]:
    """Pixels and header, if astropy reads the same size that was checked: nothing is allocated otherwise."""
    found = tuple(axis for axis in hdu.shape if axis != 1)
    if found != tuple(axis for axis in shape if axis != 1):
        raise BadFrameError(f"not valid FITS: two readings of its size, {hdu.shape} and {shape}")
    return np.asarray(hdu.data).reshape(shape), hdu.header.copy()


def read_header(own: bytes, primary: bytes | None) -> fits.Header:
    """An image's header, and the primary one's cards where that is silent.  BadFrameError where they make no sense."""
    with _foreign(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = fits.Header.fromstring(own)
        _inherit(header, primary)
    return header


def _inherit(header: fits.Header, primary: bytes | None) -> None:
    """The primary header speaks where the extension's is silent."""
    for card in fits.Header.fromstring(primary or b"").cards:
        if card.keyword not in _STRUCTURE and card.keyword not in header:
            header.append(card)


@contextlib.contextmanager
def _foreign() -> Iterator[None]:
    """Where astropy meets hostile bytes, in memory only: it raises what it likes, types of its own, private ones too."""
    try:
        yield
    except (MemoryError, PhotometryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise BadFrameError(f"damaged FITS: {reason}") from error
