"""From the words of a raw frame to charge, band by band: what is done to each pixel.

A stack (n, h, w) holds what n amplifiers read at the same time; a band (h, nx) whole rows of the trimmed chip.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.mask import Bit

Plane = NDArray[np.float32]
Bits = NDArray[np.uint16]
Line = NDArray[np.float32]

SATURATED, BAD = np.uint16(Bit.SATURATED), np.uint16(Bit.BAD)
LOWEST = np.float32(-3e38)  # below it: minus infinity
LEAST_RESPONSE = np.float32(0.05)  # of a flat: below it a pixel sees nothing


@njit(nogil=True, cache=True)
def read_words(words: NDArray[np.uint16], scale: float, zero: float, out: Plane) -> None:
    """Out = scale * value + zero of signed big-endian words of 16 bits."""
    factor, offset = np.float32(scale), np.float32(zero)
    for y in range(out.shape[0]):
        row, line = words[y], out[y]
        for x in range(row.size):
            swapped = np.uint16((row[x] << np.uint16(8)) | (row[x] >> np.uint16(8)))
            line[x] = np.float32(np.int16(swapped)) * factor + offset


@njit(nogil=True, cache=True)
def swap_words(words: NDArray[np.uint32]) -> None:
    """Turn the bytes of 32-bit words round, in place."""
    for y in range(words.shape[0]):
        row = words[y]
        for x in range(row.size):
            w = row[x]
            low = ((w & np.uint32(0xFF)) << np.uint32(24)) | ((w & np.uint32(0xFF00)) << np.uint32(8))
            row[x] = low | ((w >> np.uint32(8)) & np.uint32(0xFF00)) | (w >> np.uint32(24))


@njit(nogil=True, cache=True)
def flag_saturated(adu: Plane, levels: Line, bits: Bits) -> None:
    """SATURATED at or above its amplifier's level, BAD (and 0 from now on) what is not finite; adu, bits (n, h, w)."""
    for a in range(adu.shape[0]):
        top = levels[a]
        for y in range(adu.shape[1]):
            row, flags = adu[a, y], bits[a, y]
            odd = 0
            for x in range(row.size):
                odd += not (row[x] > LOWEST and row[x] < top)
            if odd == 0:
                flags[:] = 0
                continue
            for x in range(row.size):
                finite = np.isfinite(row[x])
                flags[x] = SATURATED if finite and row[x] >= top else np.uint16(0) if finite else BAD
                if not finite:
                    row[x] = 0


@njit(nogil=True, cache=True)
def subtract_levels(adu: Plane, levels: Plane) -> None:
    """Adu (n, h, w) less levels (n, h), in place."""
    for a in range(adu.shape[0]):
        for y in range(adu.shape[1]):
            row, level = adu[a, y], levels[a, y]
            for x in range(row.size):
                row[x] -= level


@njit(nogil=True, cache=True)
def linearise(adu: Plane, terms: Plane) -> None:
    """Adu (1 + c1 adu + c2 adu^2), in place; terms (n, 2)."""
    for a in range(adu.shape[0]):
        first, second = terms[a, 0], terms[a, 1]
        if first == 0 and second == 0:
            continue
        for y in range(adu.shape[1]):
            row = adu[a, y]
            for x in range(row.size):
                row[x] *= np.float32(1) + row[x] * (first + second * row[x])


@njit(nogil=True, cache=True)
def remove_crosstalk(adu: Plane, matrix: Plane, out: Plane) -> float:
    """Out = adu - matrix @ adu over the amplifiers; the largest correction.  All (n, h, w).

    To first order in the matrix, whose squares are below 1e-6: the aggressor is taken as it was read.
    """
    n, h, w = adu.shape
    largest = np.float32(0)
    sums = np.empty(w, np.float32)
    for y in range(h):
        for victim in range(n):
            sums[:] = 0
            for aggressor in range(n):
                share = matrix[victim, aggressor]
                if share != 0:
                    row = adu[aggressor, y]
                    for x in range(w):
                        sums[x] += share * row[x]
            mine, target = adu[victim, y], out[victim, y]
            for x in range(w):
                target[x] = mine[x] - sums[x]
                largest = max(largest, abs(sums[x]))
    return float(largest)


@njit(nogil=True, cache=True)
def subtract_master(data: Plane, variance: Plane, master: Plane, noise: Plane, factor: float) -> None:
    """Data less factor times the master, with its variance, in place; all (h, nx)."""
    share = np.float32(factor)
    for y in range(data.shape[0]):
        mine, own, theirs, other = data[y], variance[y], master[y], noise[y]
        for x in range(mine.size):
            mine[x] -= share * theirs[x]
            own[x] += share * share * other[x]


@njit(nogil=True, cache=True)
def add_noise(data: Plane, variance: Plane, gain: Line, read_noise: Line) -> None:
    """Add the variance, in adu^2, of the charge that was collected and of its reading; gain, read_noise (nx) electrons."""
    inverse, read = np.float32(1) / gain, (read_noise / gain) ** 2
    for y in range(data.shape[0]):
        mine, own = data[y], variance[y]
        for x in range(mine.size):
            own[x] += max(mine[x], np.float32(0)) * inverse[x] + read[x]


@njit(nogil=True, cache=True)
def add_columns(data: Plane, bits: Bits, sums: NDArray[np.float64], saturated: NDArray[np.float64]) -> None:
    """Add each column's charge, and the part of it in saturated pixels, in place; sums, saturated (nx)."""
    part = np.empty(data.shape[1], np.float32)
    part[:] = 0
    for y in range(data.shape[0]):
        row, flags = data[y], bits[y]
        some = np.uint16(0)
        for x in range(row.size):
            part[x] += row[x]
            some |= flags[x]
        if some & SATURATED:
            for x in range(row.size):
                if flags[x] & SATURATED:
                    saturated[x] += row[x]
    for x in range(part.size):
        sums[x] += part[x]


@njit(nogil=True, cache=True)
def remove_smear(data: Plane, smear: Line, factor: float) -> None:
    """(data - smear) factor, in place; smear (nx)."""
    share = np.float32(factor)
    for y in range(data.shape[0]):
        row = data[y]
        for x in range(row.size):
            row[x] = (row[x] - smear[x]) * share


@njit(nogil=True, cache=True)
def apply_gain(data: Plane, variance: Plane, gain: Line) -> None:
    """From adu to electrons, in place; gain (nx)."""
    for y in range(data.shape[0]):
        mine, own = data[y], variance[y]
        for x in range(mine.size):
            mine[x] *= gain[x]
            own[x] *= gain[x] * gain[x]


@njit(nogil=True, cache=True)
def divide_flat(data: Plane, variance: Plane, flat: Plane, noise: Plane, bits: Bits) -> None:
    """Data over the flat, with its variance, in place; where the flat sees nothing: as it was, and BAD."""
    for y in range(data.shape[0]):
        mine, own, response, other, flags = data[y], variance[y], flat[y], noise[y], bits[y]
        for x in range(mine.size):
            good = response[x] > LEAST_RESPONSE
            inverse = np.float32(1) / response[x] if good else np.float32(1)
            mine[x] *= inverse
            # V(d / f) = V(d) / f^2 + (d / f)^2 V(f) / f^2
            own[x] = (own[x] + mine[x] * mine[x] * (other[x] if good else np.float32(0))) * inverse * inverse
            flags[x] |= np.uint16(0) if good else BAD
