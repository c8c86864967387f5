"""Holds the claims of a tile-compressed image against what its heap can hold, before anything inflates it.

Guarantee: after `check_tiles` returns, no tile lies outside the heap, none is larger than the image, the
number of tiles is what the sizes say, and no tile inflates beyond its pixels.  Otherwise `BadFrameError` of
one line.  FITS standard 4.0, section 10.
"""

import re
import zlib
from dataclasses import dataclass
from math import ceil, prod

import numpy as np
from numpy.typing import NDArray

from photometry.errors import BadFrameError
from photometry.fits_guard import Cards, RawHdu, bits, image_shape, integer, string

# The most that each method can shrink pixels: Rice needs 5 bits for 32 pixels of 4 bytes, deflate 1 byte for
# 1,032.
_BEST_RATIO = {"RICE_1": 300, "RICE_ONE": 300, "GZIP_1": 1100, "GZIP_2": 1100}
_WIDTH = {"L": 1, "B": 1, "A": 1, "I": 2, "J": 4, "K": 8, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_FORM = re.compile(r"^(\d{0,9})([LXBIJKAEDCMPQ])([BIJKED]?)")
_DATA_COLUMNS = ("COMPRESSED_DATA", "GZIP_COMPRESSED_DATA", "UNCOMPRESSED_DATA")
_MOST_COLUMNS = 32
# Pixels are stored in at most 8 bytes.
_WIDEST_PIXEL = 8


@dataclass(frozen=True)
class _Column:
    name: str
    offset: int
    width: int
    element: int


def check_tiles(hdu: RawHdu) -> None:
    """Raise BadFrameError unless the tile-compressed image can be inflated safely."""
    cards = hdu.cards
    method = string(cards, "ZCMPTYPE")
    if method not in _BEST_RATIO:
        known = ", ".join(sorted(_BEST_RATIO))
        raise BadFrameError(f"compressed with ZCMPTYPE {method!r}, which is not read here; known are {known}")
    _check_parameters(cards)
    shape = image_shape(cards, "Z")
    tile = _tile_shape(cards, shape)
    tiles = prod(ceil(axis / side) for axis, side in zip(shape, tile, strict=True))
    row, rows = _table_shape(cards)
    if rows != tiles:
        raise BadFrameError(f"not a valid compressed image: {tiles:,} tiles are needed, the table has {rows:,} rows")
    heap_at = integer(cards, "THEAP", row * rows)
    if not row * rows <= heap_at <= len(hdu.data):
        raise BadFrameError(f"not a valid compressed image: THEAP says {heap_at:,} of {len(hdu.data):,} bytes")
    heap = memoryview(hdu.data)[heap_at:]
    claimed = prod(shape) * abs(bits(cards, "ZBITPIX")) // 8
    if claimed > _BEST_RATIO[method] * len(hdu.data):
        raise BadFrameError(
            f"a compression bomb: {len(hdu.data):,} bytes claim to hold {claimed:,}; "
            f"{method} shrinks at most {_BEST_RATIO[method]} times"
        )
    _check_pointers(hdu, row, rows, heap, prod(tile), inflate_all=method.startswith("GZIP"))


def _check_parameters(cards: Cards) -> None:
    """What the Rice decoder is told about the pixels: it is C, and believes it."""
    for i in range(1, _MOST_COLUMNS):
        name, allowed = string(cards, f"ZNAME{i}"), {"BLOCKSIZE": (16, 32), "BYTEPIX": (1, 2, 4, 8)}
        if name in allowed and integer(cards, f"ZVAL{i}") not in allowed[name]:
            raise BadFrameError(f"not a valid compressed image: {name} says {integer(cards, f'ZVAL{i}')}")


def _tile_shape(cards: Cards, shape: tuple[int, ...]) -> tuple[int, ...]:
    """ZTILEn, by default one row each."""
    default = [shape[0]] + [1] * (len(shape) - 1)
    tile = tuple(integer(cards, f"ZTILE{i}", default[i - 1]) for i in range(1, len(shape) + 1))
    for axis, side in zip(shape, tile, strict=True):
        if not 1 <= side <= axis:
            raise BadFrameError(f"not a valid compressed image: a tile of {side} pixels on an axis of {axis}")
    return tile


def _table_shape(cards: Cards) -> tuple[int, int]:
    axes = image_shape(cards)
    if len(axes) != 2 or min(axes) < 1:
        raise BadFrameError("not a valid compressed image: its table has no rows")
    return axes[0], axes[1]


def _columns(cards: Cards, row: int) -> list[_Column]:
    count = integer(cards, "TFIELDS")
    if not 1 <= count <= _MOST_COLUMNS:
        raise BadFrameError(f"not a valid compressed image: TFIELDS says {count}")
    columns: list[_Column] = []
    offset = 0
    for i in range(1, count + 1):
        form = _FORM.match(string(cards, f"TFORM{i}"))
        if form is None:
            raise BadFrameError(f"not a valid compressed image: TFORM{i} says {string(cards, f'TFORM{i}')[:20]!r}")
        repeat = int(form[1] or 1)
        width = ceil(repeat / 8) if form[2] == "X" else repeat * _WIDTH[form[2]]
        name = string(cards, f"TTYPE{i}").upper()
        if name in _DATA_COLUMNS:
            if form[2] not in "PQ" or repeat != 1 or not form[3]:
                raise BadFrameError(f"not a valid compressed image: {name} has the form {form[0]!r}")
            columns.append(_Column(name, offset, width, _WIDTH[form[3]]))
        offset += width
    if offset != row:
        raise BadFrameError(f"not a valid compressed image: columns of {offset} bytes in rows of {row}")
    if not columns:
        raise BadFrameError("not a valid compressed image: it has no column of data")
    return columns


def _check_pointers(hdu: RawHdu, row: int, rows: int, heap: memoryview, pixels: int, *, inflate_all: bool) -> None:
    table = np.frombuffer(hdu.data, np.uint8, count=row * rows).reshape(rows, row)
    filled = np.zeros(rows, np.bool_)
    for column in _columns(hdu.cards, row):
        lengths, offsets = _pointers(table, column)
        lengths = lengths * column.element
        bad = (lengths < 0) | (offsets < 0) | (lengths > len(heap)) | (offsets > len(heap) - lengths)
        if bad.any():
            where = int(np.flatnonzero(bad)[0])
            raise BadFrameError(
                f"not a valid compressed image: tile {where} points to bytes {int(offsets[where]):,} to "
                f"{int(offsets[where]) + int(lengths[where]):,} of a heap of {len(heap):,}"
            )
        if column.name == "GZIP_COMPRESSED_DATA" or (inflate_all and column.name == "COMPRESSED_DATA"):
            _check_inflation(heap, offsets, lengths, pixels * _WIDEST_PIXEL)
        filled |= lengths > 0
    if not filled.all():
        missing = int(np.flatnonzero(~filled)[0])
        raise BadFrameError(f"damaged compressed image: tile {missing} of {rows:,} holds no data")


def _pointers(table: NDArray[np.uint8], column: _Column) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    kind = ">i4" if column.width == _WIDTH["P"] else ">i8"
    pairs = np.ascontiguousarray(table[:, column.offset : column.offset + column.width]).view(kind)
    # Clipped, so that no product of two lies can wrap round.
    pairs = np.clip(pairs.astype(np.int64), -1, 1 << 48)
    return pairs[:, 0], pairs[:, 1]


def _check_inflation(heap: memoryview, offsets: NDArray[np.int64], lengths: NDArray[np.int64], most: int) -> None:
    """Inflate every tile, but no further than its pixels could fill."""
    for i in np.flatnonzero(lengths):
        packed = heap[offsets[i] : offsets[i] + lengths[i]]
        try:
            size = len(zlib.decompressobj(wbits=31).decompress(packed, most + 1))
        except zlib.error as error:
            raise BadFrameError(f"damaged compressed image: tile {int(i)}: {error}") from error
        if size > most:
            raise BadFrameError(f"a compression bomb: tile {int(i)} inflates past its {most:,} bytes")
