"""Pixels that are sharper than a star allows, on a frame with a variance of its own; `photometry.cosmics` says why."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Mask = NDArray[np.uint16]
Places = NDArray[np.int64]

LIT_SIGMA = 8.0  # of a pixel that may be a hit
EXCESS_SIGMA = 6.0  # above what its neighbours allow
RIM_SIGMA = 3.0
ROUNDS = 3
STRUCK = np.uint16(1 << 15)  # of the mask, while hits are peeled; none of `photometry.mask.Bit`


@njit(nogil=True, cache=True)
def find_bare(data: Plane, variance: Plane, mask: Mask, unusable: int, fractions: Plane, y0: int, y1: int) -> Places:
    """(n, 2) y, x of the lit pixels of some rows, the frame's border left out, that their neighbours do not shield.

    fractions (4,): the least that the mean of two opposite neighbours has of a star's pixel, along x, y and the diagonals;
    <= 0: not known.
    """
    nx = data.shape[1]
    out, count = np.empty((64, 2), np.int64), 0
    for y in range(y0, y1):
        for x in range(1, nx - 1):
            value = data[y, x]
            if not value * value > LIT_SIGMA**2 * variance[y, x] or value <= 0 or mask[y, x] & unusable:
                continue
            if np.isnan(_without_hit(data, variance, mask, unusable, fractions, y, x)):
                continue
            if count == len(out):
                out = _longer(out)
            out[count] = y, x
            count += 1
    return out[:count].copy()


@njit(nogil=True, cache=True)
def peel(data: Plane, variance: Plane, mask: Mask, unusable: int, fractions: Plane, bare: Places) -> Places:
    """(n, 2) y, x: bare pixels, and what is bare once those no longer shield it: hits of several pixels, from their rims.

    The data and the mask are changed meanwhile, and left as they were.
    """
    struck, hits = np.empty((max(len(bare), 64), 2), np.int64), 0
    old = np.empty(len(struck), np.float32)
    for _ in range(ROUNDS):
        lower = np.empty(len(bare), np.float32)
        for i in range(len(bare)):
            lower[i] = _without_hit(data, variance, mask, unusable, fractions, bare[i, 0], bare[i, 1])
        first = hits
        for i in range(len(bare)):
            y, x = bare[i]
            if np.isnan(lower[i]) or mask[y, x] & STRUCK:
                continue
            if hits == len(struck):
                struck, old = _longer(struck), np.concatenate((old, old))
            struck[hits] = y, x
            old[hits], data[y, x] = data[y, x], lower[i]
            mask[y, x] |= STRUCK
            hits += 1
        if hits == first:
            break
        bare = _beside(data, variance, mask, unusable, struck[first:hits])
    for i in range(hits):
        data[struck[i, 0], struck[i, 1]] = old[i]
        mask[struck[i, 0], struck[i, 1]] &= ~STRUCK
    return struck[:hits].copy()


@njit(nogil=True, cache=True)
def flag_rims(data: Plane, variance: Plane, mask: Mask, unusable: int, struck: Places) -> Places:
    """(n, 2) y, x: what was struck and its lit neighbours; some more than once."""
    out, count = np.empty((9 * len(struck), 2), np.int64), 0
    for i in range(len(struck)):
        for y in range(struck[i, 0] - 1, struck[i, 0] + 2):
            for x in range(struck[i, 1] - 1, struck[i, 1] + 2):
                value = data[y, x]
                if value > 0 and value * value > RIM_SIGMA**2 * variance[y, x] and not mask[y, x] & unusable:
                    out[count] = y, x
                    count += 1
    return out[:count].copy()


@njit(nogil=True, cache=True)
def _beside(data: Plane, variance: Plane, mask: Mask, unusable: int, struck: Places) -> Places:
    """(n, 2) y, x: the lit neighbours of what was hit, not yet hit themselves; some more than once."""
    ny, nx = data.shape
    out, count = np.empty((9 * len(struck), 2), np.int64), 0
    for i in range(len(struck)):
        for y in range(max(struck[i, 0] - 1, 1), min(struck[i, 0] + 2, ny - 1)):
            for x in range(max(struck[i, 1] - 1, 1), min(struck[i, 1] + 2, nx - 1)):
                value = data[y, x]
                if value > 0 and value * value > LIT_SIGMA**2 * variance[y, x] and not mask[y, x] & (unusable | STRUCK):
                    out[count] = y, x
                    count += 1
    return out[:count]


@njit(nogil=True, cache=True)
def _without_hit(data: Plane, variance: Plane, mask: Mask, unusable: int, fractions: Plane, y: int, x: int) -> np.float32:
    """The least mean of two opposite neighbours of a pixel that is no star's; NaN for one that may be."""
    value, own = data[y, x], variance[y, x]
    sharp, lowest = False, np.float32(np.inf)
    for line in range(4):
        dy, dx = (0, 1, 1, 1)[line], (1, 0, 1, -1)[line]
        mean = (data[y + dy, x + dx] + data[y - dy, x - dx]) / np.float32(2)
        lowest = min(lowest, mean)
        fraction = fractions[line]
        if fraction <= 0 or (mask[y + dy, x + dx] | mask[y - dy, x - dx]) & unusable:
            continue
        near = variance[y + dy, x + dx] + variance[y - dy, x - dx]
        excess = value - mean / fraction
        sharp |= excess > 0 and excess * excess > EXCESS_SIGMA**2 * (own + near / (2 * fraction) ** 2)
    return lowest if sharp else np.float32(np.nan)


@njit(nogil=True, cache=True)
def _longer(places: Places) -> Places:
    longer = np.empty((2 * len(places), 2), np.int64)
    longer[: len(places)] = places
    return longer
