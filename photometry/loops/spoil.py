"""How far a kernel carries what is wrong with a pixel."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.loops.runs import RUN

Plane = NDArray[np.float32]
Bits = NDArray[np.uint8]
Lines = NDArray[np.uint8]


@njit(nogil=True, cache=True)
def spread_doubts(
    data: Plane, bits: Bits, worthless: int, rims: tuple[Lines, Lines], sigma: float, shares: tuple[float, float, float],
    kernels: NDArray[np.float32], block: int, error: Plane,
) -> None:  # fmt: skip
    """Add to the error of each pixel what the doubts round it bring in: |K| convolved with the doubt.

    data, bits (h + 2 m, w + 2 m), m >= k // 2; error (h, w); kernels (blocks, k, k): of |K|, one for each `block` columns.
    The doubt: of a worthless pixel, its value times shares[0] and `sigma` times shares[1]; of one in the rims (rows,
    columns: 1), its value.  A doubt of at most `sigma` times shares[2] is passed over.
    """
    rows, columns = rims
    bad, least = np.uint8(worthless), sigma * shares[2]
    k = kernels.shape[1]
    margin = (data.shape[0] - error.shape[0]) // 2 - k // 2
    for y in range(margin, data.shape[0] - margin):
        for begin in range(margin, data.shape[1] - margin, RUN):
            end = min(begin + RUN, data.shape[1] - margin)
            if not rows[y] and not _any(bits[y, begin:end], columns[begin:end], bad):
                continue
            for x in range(begin, end):
                doubt = shares[0] * abs(data[y, x]) + shares[1] * sigma if bits[y, x] & bad else 0.0
                if rows[y] or columns[x]:
                    doubt = max(doubt, abs(data[y, x]))
                if doubt > least:
                    _spread(np.float32(doubt), y - margin, x - margin, kernels, block, error)


@njit(nogil=True, cache=True)
def _any(bits: Bits, rim: Lines, bad: np.uint8) -> bool:
    some = np.uint8(0)
    for x in range(bits.size):
        some |= (bits[x] & bad) | rim[x]
    return bool(some != 0)


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _spread(value: np.float32, y: int, x: int, kernels: NDArray[np.float32], block: int, error: Plane) -> None:
    """error[b, a] += K[i, j] value, with y = b + k - 1 - i, x = a + k - 1 - j."""
    h, w = error.shape
    k = kernels.shape[1]
    kernel = kernels[min(max(x - k // 2, 0), w - 1) // block]
    first, last, shift = max(x - k + 1, 0), min(x + 1, w), k - 1 - x
    for b in range(max(y - k + 1, 0), min(y + 1, h)):
        row, taps = error[b, first:last], kernel[b + k - 1 - y, first + shift : last + shift]
        for a in range(row.size):
            row[a] += value * taps[a]


@njit(nogil=True, cache=True)
def flag_above(error: Plane, sigma: Plane, share: float, bits: Bits, bit: int) -> None:
    """Set the bit where the error is more than a share of sigma, which is of 2 x 2 pixels."""
    limit, new = np.float32(share), np.uint8(bit)
    for y in range(error.shape[0]):
        for begin in range(0, error.shape[1], RUN):
            part = error[y, begin : begin + RUN]
            if not _positive(part):
                continue
            for x in range(begin, begin + part.size):
                if error[y, x] > limit * sigma[y // 2, x // 2]:
                    bits[y, x] |= new


@njit(nogil=True, cache=True)
def _positive(part: Plane) -> bool:
    count = 0
    for x in range(part.size):
        count += part[x] > 0
    return count > 0
