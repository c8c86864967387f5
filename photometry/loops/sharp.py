"""Which pixels are sharper than a star: dead, hot, or hit by a cosmic ray."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.loops.flag import BAD
from photometry.loops.mesh import Place, value_at
from photometry.loops.runs import RUN
from photometry.mask import Bit

Plane = NDArray[np.float32]
Bits = NDArray[np.uint8]

COSMIC_RAY = np.uint8(Bit.COSMIC_RAY)
LIT = np.uint8(255)
STRUCK = np.uint8(128)  # while cosmic rays are peeled: a pixel whose hit is taken away

LIT_SIGMA = 8.0  # of a pixel that may be a hit
EXCESS_SIGMA = 6.0  # above what its neighbours allow
RIM_SIGMA = 3.0
ROUNDS = 3
DEAD_SIGMA, HOT_SIGMA = 10.0, 100.0
HOT_SHARE = 0.05  # of a pixel's light that a star leaves in the best neighbour, down to FWHM 1 pixel


@njit(nogil=True, cache=True)
def flag_sharp(
    data: Plane, bits: Bits, noise: Plane, side: int, y0: int, x0: int, gain: float, fractions: NDArray[np.float32]
) -> int:
    """Flag dead and hot pixels, and cosmic rays with their lit rims; how many.

    data (ny, nx): without the sky, its first pixel (y0, x0) of the frame; noise: the mesh, with cells of `side`, of the
    sky's variance; fractions (4,): the least that the mean of two opposite neighbours has of a star's pixel, along x, y and
    the diagonals; 0: not known.  A pixel that breaks it by its noise is no star's.
    """
    place = Place(y0, x0, side)
    lit, flagged = _flag_single(data, bits, noise, place, fractions)
    if len(lit) and fractions.max() > 0:
        flagged += _peel(data, bits, noise, place, gain, fractions, lit)
    return flagged


@njit(nogil=True, cache=True)
def _flag_single(
    data: Plane, bits: Bits, noise: Plane, place: Place, fractions: NDArray[np.float32]
) -> tuple[NDArray[np.int32], int]:
    """Flag dead and hot pixels, and say how many; y, x (n, 2) of others that their neighbours may not shield."""
    ny, nx = data.shape
    factors = np.empty(4, np.float32)
    for line in range(4):
        factors[line] = np.float32(0.5) / max(fractions[line], np.float32(1e-20))
    least = np.float32(noise.min())
    lit = np.empty((1024, 2), np.int32)
    count, flagged = 0, 0
    for y in range(1, ny - 1):
        for begin in range(1, nx - 1, RUN):
            end = min(begin + RUN, nx - 1)
            if not _is_loud(data[y, begin:end], least):
                continue
            above, row, below = (
                data[y - 1, begin - 1 : end + 1],
                data[y, begin - 1 : end + 1],
                data[y + 1, begin - 1 : end + 1],
            )
            if not _may_be_odd(above, row, below, least, factors):
                continue
            if count + RUN > len(lit):
                lit = _longer(lit)
            count, more = _look_closely(data, bits, noise, place, least, (y, begin, end), lit, count)
            flagged += more
    return lit[:count], flagged


@njit(nogil=True, cache=True)
def _look_closely(
    data: Plane, bits: Bits, noise: Plane, place: Place, least: np.float32, run: tuple[int, int, int],
    lit: NDArray[np.int32], count: int,
) -> tuple[int, int]:  # fmt: skip
    """Flag a run's dead and hot pixels, and put others that may be hit behind `count` in `lit`: how many there, flagged."""
    y, begin, end = run
    flagged = 0
    for x in range(begin, end):
        if bits[y, x] != 0 or data[y, x] * data[y, x] < np.float32(LIT_SIGMA**2) * least:
            continue
        kind = _kind(data, noise, place, y, x)
        if kind == LIT:
            lit[count] = y, x
            count += 1
        elif kind:
            bits[y, x] |= kind
            flagged += 1
    return count, flagged


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _is_loud(row: Plane, least: np.float32) -> bool:
    limit, count = np.float32(LIT_SIGMA**2) * least, np.float32(0)
    for x in range(row.size):
        count += np.float32(1) if row[x] * row[x] >= limit else np.float32(0)
    return bool(count > 0)


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _may_be_odd(above: Plane, row: Plane, below: Plane, least: np.float32, factors: NDArray[np.float32]) -> bool:
    """Whether one of a row's inner pixels may be dead, hot or hit: what all such pixels have in common.

    above, row, below (n + 2,); least: of the sky's variance; factors: half the inverse fractions.
    """
    limit, hot = np.float32(LIT_SIGMA) * np.sqrt(least), np.float32((1 - HOT_SHARE) * HOT_SIGMA) * np.sqrt(least)
    count = np.float32(0)
    for x in range(row.size - 2):
        value = row[x + 1]
        a, b = row[x] + row[x + 2], above[x + 1] + below[x + 1]
        c, d = above[x] + below[x + 2], above[x + 2] + below[x]
        model = min(factors[0] * a, factors[1] * b, factors[2] * c, factors[3] * d)
        near = np.float32(0.5) * max(a, b, c, d)
        # not shielded by all its neighbours, or far above them
        bare = (value > limit) & ((value > model) | (value - near > hot))
        count += np.float32(1) if bare | (value < -limit) else np.float32(0)
    return bool(count > 0)


@njit(nogil=True, cache=True)
def _kind(data: Plane, noise: Plane, place: Place, y: int, x: int) -> np.uint8:
    """BAD for a dead pixel, COSMIC_RAY for a hot one, LIT for one that may be hit, 0 for others."""
    value, variance = data[y, x], value_at(noise, place, y, x)
    if value * value < LIT_SIGMA**2 * variance:
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
def _peel(
    data: Plane, bits: Bits, noise: Plane, place: Place, gain: float, fractions: NDArray[np.float32], lit: NDArray[np.int32]
) -> int:
    """Flag cosmic rays of several pixels, from their rims: what was hit no longer shields its neighbours.

    lit: of the pixels that may be hit, those that their neighbours do not shield now.
    """
    lower = np.empty(len(lit), np.float32)  # what is there without a hit
    struck, first = np.empty((64, 2), np.int32), 0
    old, hits = np.empty(64, np.float32), 0  # what was there
    for _ in range(ROUNDS):
        for i in range(len(lit)):
            lower[i] = _without_hit(data, bits, noise, place, gain, fractions, lit[i, 0], lit[i, 1])
        for i in range(len(lit)):
            y, x = lit[i]
            if not np.isnan(lower[i]) and bits[y, x] == 0:
                if hits == len(struck):
                    struck, old = _longer(struck), np.concatenate((old, old))
                struck[hits] = y, x
                old[hits], data[y, x], bits[y, x] = data[y, x], lower[i], STRUCK
                hits += 1
        if hits == first:
            break
        lit = _beside(data, bits, noise, place, struck[:hits])
        lower, first = np.empty(len(lit), np.float32), hits
    for i in range(hits):
        data[struck[i, 0], struck[i, 1]] = old[i]
        bits[struck[i, 0], struck[i, 1]] = COSMIC_RAY
    flagged = hits
    for i in range(hits):
        flagged += _flag_rim(data, bits, noise, place, gain, struck[i, 0], struck[i, 1])
    return flagged


@njit(nogil=True, cache=True)
def _beside(data: Plane, bits: Bits, noise: Plane, place: Place, struck: NDArray[np.int32]) -> NDArray[np.int32]:
    """(n, 2) y, x: the lit neighbours of what was hit; some more than once."""
    ny, nx = data.shape
    out = np.empty((8 * len(struck), 2), np.int32)
    count = 0
    for i in range(len(struck)):
        for y in range(max(struck[i, 0] - 1, 1), min(struck[i, 0] + 2, ny - 1)):
            for x in range(max(struck[i, 1] - 1, 1), min(struck[i, 1] + 2, nx - 1)):
                value = data[y, x]
                if bits[y, x] == 0 and value > 0 and value * value >= LIT_SIGMA**2 * value_at(noise, place, y, x):
                    out[count] = y, x
                    count += 1
    return out[:count]


@njit(nogil=True, cache=True)
def _without_hit(
    data: Plane, bits: Bits, noise: Plane, place: Place, gain: float, fractions: NDArray[np.float32], y: int, x: int
) -> float:
    """The least mean of two opposite neighbours of a pixel that is no star's; NaN for one that may be."""
    value, sky = data[y, x], value_at(noise, place, y, x)
    own = sky + max(value, 0) / gain
    sharp, lowest = False, np.inf
    for line in range(4):
        dy, dx = (0, 1, 1, 1)[line], (1, 0, 1, -1)[line]
        mean = (data[y + dy, x + dx] + data[y - dy, x - dx]) / 2
        lowest = min(lowest, mean)
        fraction = fractions[line]
        if fraction <= 0 or (bits[y + dy, x + dx] | bits[y - dy, x - dx]) & ~STRUCK:
            continue
        near = 2 * sky + 2 * max(mean, 0) / gain
        error = np.sqrt(own + near / (2 * fraction) ** 2)
        sharp |= value - mean / fraction > EXCESS_SIGMA * error
    return lowest if sharp else np.nan


@njit(nogil=True, cache=True)
def _flag_rim(data: Plane, bits: Bits, noise: Plane, place: Place, gain: float, y: int, x: int) -> int:
    """The lit neighbours of a hit."""
    flagged = 0
    for b in range(y - 1, y + 2):
        for a in range(x - 1, x + 2):
            value = data[b, a]
            if (
                bits[b, a] == 0
                and value > 0
                and value * value > RIM_SIGMA**2 * (value_at(noise, place, b, a) + value / gain)
            ):
                bits[b, a] |= COSMIC_RAY
                flagged += 1
    return flagged
