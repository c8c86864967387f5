"""Which pixels mean nothing: not finite, saturated, or in a line that is bad."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.loops.runs import RUN, some_bits
from photometry.mask import Bit

Plane = NDArray[np.float32]
Bits = NDArray[np.uint8]

SATURATED, BAD = np.uint8(Bit.SATURATED), np.uint8(Bit.BAD)
LOWEST = np.float32(-3e38)  # below it: minus infinity


@njit(nogil=True, cache=True)
def flag_unusable(data: Plane, bits: Bits, saturation: float) -> int:
    """Flag what is not finite (BAD, and 0 from now on) and what is saturated (and its neighbours); how many there are."""
    ny, nx = data.shape
    top = np.float32(saturation)
    flagged = 0
    for y in range(ny):
        for begin in range(0, nx, RUN):
            end = min(begin + RUN, nx)
            if _all_between(data[y, begin:end], LOWEST, top):
                continue
            for x in range(begin, end):
                value = data[y, x]
                if not np.isfinite(value):
                    bits[y, x] |= BAD
                    data[y, x] = 0
                    flagged += 1
                elif value >= top:
                    flagged += 1
                    for b in range(max(y - 1, 0), min(y + 2, ny)):
                        for a in range(max(x - 1, 0), min(x + 2, nx)):
                            bits[b, a] |= SATURATED
    return flagged


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _all_between(row: Plane, low: np.float32, high: np.float32) -> bool:
    count = np.float32(0)  # a sum of this kind the compiler takes eight at once, not a truth
    for x in range(row.size):
        count += np.float32(1) if (row[x] > low) & (row[x] < high) else np.float32(0)
    return bool(count == row.size)


@njit(nogil=True, cache=True)
def find_bit(bits: Bits, bit: int) -> NDArray[np.int64]:
    """(n, 2): y, x of the pixels that have it, in order."""
    ny, nx = bits.shape
    wanted = np.uint8(bit)
    out = np.empty((1024, 2), np.int64)
    count = 0
    for y in range(ny):
        for begin in range(0, nx, RUN):
            part = bits[y, begin : begin + RUN]
            if not some_bits(part) & wanted:
                continue
            if count + RUN > len(out):
                longer = np.empty((2 * len(out), 2), np.int64)
                longer[: len(out)] = out
                out = longer
            for x in range(part.size):
                if part[x] & wanted:
                    out[count] = y, begin + x
                    count += 1
    return out[:count]


@njit(nogil=True, cache=True)
def flag_lines(bits: Bits, columns: NDArray[np.bool_], rows: NDArray[np.bool_], side: int, y0: int, x0: int) -> None:
    """Flag pieces of lines: columns (my, nx) of `side` rows each, rows (ny, mx) of `side` columns, of the whole frame.

    bits: of a rectangle whose first pixel is (y0, x0) of the frame.  The last piece reaches to the end.
    """
    h, w = bits.shape
    for y in range(h):
        piece, line = columns[min((y + y0) // side, len(columns) - 1), x0 : x0 + w], rows[y + y0]
        for x in range(w):
            bits[y, x] |= BAD * np.uint8(piece[x])
        for i in range(line.size):
            if line[i]:
                end = w if i == line.size - 1 else min((i + 1) * side - x0, w)
                bits[y, min(max(i * side - x0, 0), w) : max(end, 0)] |= BAD
