"""Charge that ran along the columns from saturated pixels."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.mask import Bit

Plane = NDArray[np.float32]
Bits = NDArray[np.uint16]

SATURATED = np.uint16(Bit.SATURATED)
BESIDE = 4  # pixels to either side that a bleeding column is compared with: past its own width, within a star's wing
BLEED_SIGMA = 5.0
MOST_GAP = 2  # pixels of a bleed that noise may hide


@njit(nogil=True, cache=True)
def find_saturated(bits: Bits, y0: int) -> NDArray[np.int32]:
    """(n, 2): y + y0, x of the saturated pixels of a band, in order."""
    out = np.empty((256, 2), np.int32)
    count = 0
    for y in range(bits.shape[0]):
        row = bits[y]
        some = np.uint16(0)
        for x in range(row.size):
            some |= row[x]
        if some & SATURATED == 0:
            continue
        for x in range(row.size):
            if row[x] & SATURATED:
                if count == len(out):
                    longer = np.empty((2 * count, 2), np.int32)
                    longer[:count] = out
                    out = longer
                out[count] = y + y0, x
                count += 1
    return out[:count]


@njit(nogil=True, cache=True)
def flag_bleeds(data: Plane, variance: Plane, bits: Bits, places: NDArray[np.int32], low: int, high: int) -> int:
    """Flag the neighbours of saturated pixels and, along their columns, what stands above both sides; how many.

    places (n, 2): y, x of pixels that are saturated; low, high: the rows within which charge shifts.
    """
    flagged = 0
    for i in range(len(places)):
        y, x = places[i]
        for step in (-1, 1):
            # a run of saturated pixels bleeds from its ends
            if low <= y + step < high and bits[y + step, x] & SATURATED == 0:
                end = _follow(data, variance, bits, y, x, step, low, high)
                for b in range(y + step, end + step, step):
                    flagged += bits[b, x] & SATURATED == 0
                    bits[b, x] |= SATURATED
    for i in range(len(places)):
        y, x = places[i]
        for b in range(max(y - 1, low), min(y + 2, high)):
            for a in range(max(x - 1, 0), min(x + 2, data.shape[1])):
                flagged += bits[b, a] & SATURATED == 0
                bits[b, a] |= SATURATED
    return flagged


@njit(nogil=True, cache=True)
def _follow(data: Plane, variance: Plane, bits: Bits, y: int, x: int, step: int, low: int, high: int) -> int:
    """The last row, from y on, to which a column bleeds; y where it does not."""
    last, b = y, y + step
    while low <= b < high and abs(b - last) <= MOST_GAP + 1 and bits[b, x] & SATURATED == 0:
        if _stands_out(data, variance, b, x):
            last = b
        b += step
    return last


@njit(nogil=True, cache=True)
def _stands_out(data: Plane, variance: Plane, y: int, x: int) -> bool:
    """Whether a pixel is brighter than those `BESIDE` it on both sides, by its noise."""
    nx = data.shape[1]
    side = max(data[y, max(x - BESIDE, 0)], data[y, min(x + BESIDE, nx - 1)])
    excess = data[y, x] - side
    return bool(excess > 0 and excess * excess > BLEED_SIGMA * BLEED_SIGMA * variance[y, x])
