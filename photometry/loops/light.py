"""Where there is light of sources, coarsely: what a sky must not be measured on; and what is left without the sky."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Bits = NDArray[np.uint8]

BLOCK = 4  # pixels: of a square whose mean shows a star
BLOCK_SIGMA = 3.0
LIT = np.uint8(128)


@njit(nogil=True, cache=True)
def flag_light(above: Plane, bits: Bits, sigma: Plane, side: int) -> None:
    """Set LIT where blocks stand out of the sky by their noise, and in the blocks round those.

    above, bits (h, nx): without the sky, flagged pixels left out; sigma (cells,): of a pixel, in each cell of `side`
    columns.
    """
    h, nx = above.shape
    my, mx = -(-h // BLOCK), -(-nx // BLOCK)
    total, count = np.zeros((my, mx), np.float32), np.zeros((my, mx), np.float32)
    for y in range(h):
        _add_blocks(above[y], bits[y], total[y // BLOCK], count[y // BLOCK])
    lit = np.zeros((my, mx), np.uint8)
    noise = np.empty(mx, np.float32)
    for i in range(mx):
        noise[i] = sigma[min(i * BLOCK // side, sigma.size - 1)]
    _flag_blocks(total, count, noise, lit)
    for y in range(h):
        row, line = lit[y // BLOCK], bits[y]
        for i in range(nx // BLOCK):
            if row[i]:
                line[i * BLOCK : (i + 1) * BLOCK] |= LIT
        line[nx // BLOCK * BLOCK :] |= row[mx - 1]


@njit(nogil=True, cache=True)
def _add_blocks(row: Plane, flags: Bits, total: Plane, count: Plane) -> None:
    whole = row.size // BLOCK
    for i in range(whole):
        x = i * BLOCK
        if flags[x] | flags[x + 1] | flags[x + 2] | flags[x + 3]:
            for k in range(x, x + BLOCK):
                if flags[k] == 0:
                    total[i] += row[k]
                    count[i] += np.float32(1)
        else:
            total[i] += (row[x] + row[x + 1]) + (row[x + 2] + row[x + 3])
            count[i] += np.float32(BLOCK)
    for x in range(whole * BLOCK, row.size):
        if flags[x] == 0:
            total[whole] += row[x]
            count[whole] += np.float32(1)


@njit(nogil=True, cache=True)
def _flag_blocks(total: Plane, count: Plane, noise: Plane, lit: Bits) -> None:
    my, mx = total.shape
    for j in range(my):
        for i in range(mx):
            if total[j, i] > np.float32(BLOCK_SIGMA) * noise[i] * np.sqrt(count[j, i]) and count[j, i] > 0:
                lit[max(j - 1, 0) : j + 2, max(i - 1, 0) : i + 2] = LIT


@njit(nogil=True, cache=True)
def clear_hollow(data: Plane, mask: NDArray[np.uint16], bit: int) -> None:
    """0 where the mask has the bit, or where the data are not finite."""
    ny, nx = data.shape
    hollow = np.uint16(bit)
    for y in range(ny):
        for x in range(nx):
            if mask[y, x] & hollow or not np.isfinite(data[y, x]):
                data[y, x] = 0


@njit(nogil=True, cache=True)
def some_of(mask: NDArray[np.uint16], wanted: int, out: Bits) -> None:
    """The wanted bits of a mask; all of them in its low byte."""
    bits = np.uint16(wanted)
    for y in range(mask.shape[0]):
        for x in range(mask.shape[1]):
            out[y, x] = mask[y, x] & bits
