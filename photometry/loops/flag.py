"""Which pixels mean nothing: not finite, saturated, dead, hot, or hit by a cosmic ray."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.mask import Bit

Plane = NDArray[np.float32]
Bits = NDArray[np.uint8]

SATURATED, BAD, COSMIC_RAY = np.uint8(Bit.SATURATED), np.uint8(Bit.BAD), np.uint8(Bit.COSMIC_RAY)
LIT = np.uint8(255)
STRUCK = np.uint8(128)  # while cosmic rays are peeled: a pixel whose hit is taken away
RUN = 64  # pixels looked at together
LOWEST = np.float32(-3e38)  # below it: minus infinity

LIT_SIGMA = 8.0  # of a pixel that may be a hit
EXCESS_SIGMA = 6.0  # above what its neighbours allow
RIM_SIGMA = 3.0
ROUNDS = 3
DEAD_SIGMA, HOT_SIGMA = 10.0, 100.0
HOT_SHARE = 0.05  # of a pixel's light that a star leaves in the best neighbour, down to FWHM 1 pixel


@njit(nogil=True, cache=True)
def flag_unusable(data: Plane, bits: Bits, saturation: float) -> int:
    """Flag what is not finite (BAD, and 0 from now on) and what is saturated (and its neighbours); how many there are."""
    ny, nx = data.shape
    top = np.float32(saturation)
    flagged = 0
    for y in range(ny):
        for begin in range(0, nx, RUN):
            end = min(begin + RUN, nx)
            clean = True
            for x in range(begin, end):
                clean &= (data[y, x] < top) & (data[y, x] > LOWEST)
            if clean:
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


@njit(nogil=True, cache=True)
def flag_sharp(data: Plane, bits: Bits, sky: Plane, gain: float, fractions: NDArray[np.float32]) -> int:
    """Flag dead and hot pixels, and cosmic rays with their lit rims; how many.

    data (ny, nx): without the sky; sky: its variance; fractions (4,): the least that the mean of two opposite neighbours
    has of a star's pixel, along x, y and the diagonals; 0: not known.  A pixel that breaks it by its noise is no star's.
    """
    ny, nx = data.shape
    lit = np.empty((1024, 2), np.int32)
    count, flagged = 0, 0
    for y in range(1, ny - 1):
        for begin in range(1, nx - 1, RUN):
            end = min(begin + RUN, nx - 1)
            quiet = True
            for x in range(begin, end):
                quiet &= data[y, x] * data[y, x] < np.float32(LIT_SIGMA**2) * sky[y, x]
            if quiet:
                continue
            if count + RUN > len(lit):
                lit = _longer(lit)
            for x in range(begin, end):
                kind = _kind(data, bits, sky, y, x)
                if kind == LIT:
                    lit[count] = y, x
                    count += 1
                elif kind:
                    bits[y, x] |= kind
                    flagged += 1
    if count and fractions.max() > 0:
        flagged += _peel(data, bits, sky, gain, fractions, lit[:count])
    return flagged


@njit(nogil=True, cache=True)
def _kind(data: Plane, bits: Bits, sky: Plane, y: int, x: int) -> np.uint8:
    """BAD for a dead pixel, COSMIC_RAY for a hot one, LIT for one that may be hit, 0 for others."""
    value, variance = data[y, x], sky[y, x]
    if bits[y, x] != 0 or value * value < LIT_SIGMA**2 * variance:
        return np.uint8(0)
    far = value < 0 or value * value > HOT_SIGMA**2 * variance
    if far and _odd(data, y, x, np.sqrt(variance)):
        return BAD if value < 0 else COSMIC_RAY
    return LIT if value > 0 else np.uint8(0)


@njit(nogil=True, cache=True)
def _longer(places: NDArray[np.int32]) -> NDArray[np.int32]:
    out = np.empty((2 * len(places), 2), np.int32)
    out[: len(places)] = places
    return out


@njit(nogil=True, cache=True)
def _odd(data: Plane, y: int, x: int, sigma: float) -> bool:
    """Far below all neighbours, or far above without a star's shoulders."""
    low, high = np.inf, -np.inf
    for b in range(y - 1, y + 2):
        for a in range(x - 1, x + 2):
            if b != y or a != x:
                low, high = min(low, data[b, a]), max(high, data[b, a])
    value = data[y, x]
    dead = value < low - DEAD_SIGMA * sigma
    hot = value > low + HOT_SIGMA * sigma and high - low < HOT_SHARE * (value - low)
    return bool(dead or hot)


@njit(nogil=True, cache=True)
def _peel(data: Plane, bits: Bits, sky: Plane, gain: float, fractions: NDArray[np.float32], lit: NDArray[np.int32]) -> int:
    """Flag cosmic rays of several pixels, from their rims: what was hit no longer shields its neighbours."""
    count = len(lit)
    old, lower = np.full(count, np.nan, np.float32), np.empty(count, np.float32)  # what was there; what is there without
    for step in range(ROUNDS):
        for i in range(count):
            lower[i] = np.nan
            y, x = lit[i]
            if np.isnan(old[i]) and (step == 0 or _beside_hit(bits, y, x)):
                lower[i] = _without_hit(data, bits, sky, gain, fractions, y, x)
        if not _take_away(data, bits, lit, lower, old):
            break
    flagged = 0
    for i in range(count):
        if not np.isnan(old[i]):
            data[lit[i, 0], lit[i, 1]] = old[i]
            bits[lit[i, 0], lit[i, 1]] = COSMIC_RAY
            flagged += 1
    for i in range(count):
        if not np.isnan(old[i]):
            flagged += _flag_rim(data, bits, sky, gain, lit[i, 0], lit[i, 1])
    return flagged


@njit(nogil=True, cache=True)
def _take_away(data: Plane, bits: Bits, lit: NDArray[np.int32], lower: Plane, old: Plane) -> int:
    """Put what is there without a hit where one was found, and remember what was there; how many."""
    found = 0
    for i in range(len(lit)):
        if not np.isnan(lower[i]):
            y, x = lit[i]
            old[i], data[y, x] = data[y, x], lower[i]
            bits[y, x] = STRUCK
            found += 1
    return found


@njit(nogil=True, cache=True)
def _beside_hit(bits: Bits, y: int, x: int) -> bool:
    hit = False
    for b in range(y - 1, y + 2):
        for a in range(x - 1, x + 2):
            hit |= bits[b, a] == STRUCK
    return hit


@njit(nogil=True, cache=True)
def _without_hit(data: Plane, bits: Bits, sky: Plane, gain: float, fractions: NDArray[np.float32], y: int, x: int) -> float:
    """The least mean of two opposite neighbours of a pixel that is no star's; NaN for one that may be."""
    value = data[y, x]
    noise = sky[y, x] + max(value, 0) / gain
    sharp, lowest = False, np.inf
    for line in range(4):
        dy, dx = (0, 1, 1, 1)[line], (1, 0, 1, -1)[line]
        mean = (data[y + dy, x + dx] + data[y - dy, x - dx]) / 2
        lowest = min(lowest, mean)
        fraction = fractions[line]
        if fraction <= 0 or (bits[y + dy, x + dx] | bits[y - dy, x - dx]) & ~STRUCK:
            continue
        near = 2 * sky[y, x] + 2 * max(mean, 0) / gain
        error = np.sqrt(noise + near / (2 * fraction) ** 2)
        sharp |= value - mean / fraction > EXCESS_SIGMA * error
    return lowest if sharp else np.nan


@njit(nogil=True, cache=True)
def _flag_rim(data: Plane, bits: Bits, sky: Plane, gain: float, y: int, x: int) -> int:
    """The lit neighbours of a hit."""
    flagged = 0
    for b in range(y - 1, y + 2):
        for a in range(x - 1, x + 2):
            value = data[b, a]
            if bits[b, a] == 0 and value > 0 and value * value > RIM_SIGMA**2 * (sky[b, a] + value / gain):
                bits[b, a] |= COSMIC_RAY
                flagged += 1
    return flagged
