"""What is done to each band of a difference besides the convolution."""

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.loops.runs import RUN, some_bits

Plane = NDArray[np.float32]
Bits = NDArray[np.uint8]


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def halve(data: Plane, out: Plane) -> None:
    """Means of 2 x 2 pixels; where the last row or column has no partner, of what there is."""
    ny, nx = data.shape
    even = nx // 2 * 2
    for y in range(out.shape[0]):
        upper, lower = data[2 * y], data[min(2 * y + 1, ny - 1)]
        # as pairs, or the compiler does not see that it may take several at once
        first, second, line = upper[:even].reshape(-1, 2), lower[:even].reshape(-1, 2), out[y]
        for x in range(first.shape[0]):
            line[x] = np.float32(0.25) * ((first[x, 0] + first[x, 1]) + (second[x, 0] + second[x, 1]))
        if nx % 2:
            line[nx // 2] = np.float32(0.5) * (upper[nx - 1] + lower[nx - 1])


@njit(nogil=True, cache=True)
def double(plane: NDArray[Any], out: NDArray[Any]) -> None:
    """Each value for 2 x 2 pixels; out (h, w) of a type of the same size, copied bit by bit."""
    for y in range(out.shape[0]):
        if y % 2:
            out[y] = out[y - 1]
            continue
        line, row = plane[y // 2], out[y]
        pairs = row[: row.size // 2 * 2].reshape(-1, 2)
        for x in range(pairs.shape[0]):
            pairs[x, 0] = line[x]
            pairs[x, 1] = line[x]
        if row.size % 2:
            row[row.size - 1] = line[row.size // 2]


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def take_away(target: Plane, matched: Plane, sky: NDArray[np.float64], scales: NDArray[np.float64]) -> None:
    """Matched = (target - matched - sky) / scale, in place.

    Along a row u = -1 ... 1: sky (h, terms) is the sum of sky[y, a] u^a, scales (h, 2) are scales[y, 0] + scales[y, 1] u.
    """
    h, nx = matched.shape
    step = np.float32(2 / max(nx - 1, 1))
    line = np.empty(nx, np.float32)
    for y in range(h):
        line[:] = np.float32(sky[y, sky.shape[1] - 1])
        for a in range(sky.shape[1] - 2, -1, -1):
            term = np.float32(sky[y, a])
            for x in range(nx):
                line[x] = line[x] * (step * np.float32(x) - np.float32(1)) + term
        mine, row = target[y], matched[y]
        for x in range(nx):
            row[x] = mine[x] - row[x] - line[x]
        middle, slope = np.float32(scales[y, 0]), np.float32(scales[y, 1])
        if middle != 1 or slope != 0:
            for x in range(nx):
                row[x] /= middle + slope * (step * np.float32(x) - np.float32(1))


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def add_light(noise: Plane, light: Plane, gain: float, least: float) -> None:
    """Add light / gain to the noise, which stays at least `least` times what it was."""
    scale, share = np.float32(1 / gain), np.float32(least)
    for y in range(noise.shape[0]):
        row, mine = noise[y], light[y]
        for x in range(row.size):
            row[x] = max(row[x] + scale * mine[x], share * row[x])


@njit(nogil=True, cache=True)
def merge_flags(low: Bits, high: Bits, shift: int, out: NDArray[np.uint16]) -> None:
    """Out = low | high << shift."""
    for y in range(out.shape[0]):
        mine, other, row = low[y], high[y], out[y]
        for x in range(row.size):
            row[x] = np.uint16(mine[x]) | np.uint16(np.uint16(other[x]) << np.uint16(shift))


@njit(nogil=True, cache=True)
def grow_bit(bits: Bits, bit: int) -> None:
    """Set the bit in the eight neighbours of each pixel that has it, in place."""
    ny, nx = bits.shape
    old, new = np.uint8(bit), np.uint8(128)
    rows = np.zeros(ny, np.bool_)
    for y in range(ny):
        for begin in range(0, nx, RUN):
            part = bits[y, begin : begin + RUN]
            if not some_bits(part) & old:
                continue
            for x in range(begin, begin + part.size):
                if bits[y, x] & old:
                    bits[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] |= new
            rows[max(y - 1, 0) : y + 2] = True
    for y in range(ny):
        if rows[y]:
            row = bits[y]
            for x in range(nx):
                row[x] = (row[x] | (old if row[x] & new else np.uint8(0))) & ~new
