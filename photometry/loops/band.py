"""What is done to each band of a difference besides the convolution."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Bits = NDArray[np.uint8]


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def halve(data: Plane, out: Plane) -> None:
    """Means of 2 x 2 pixels; where the last row or column has no partner, of what there is."""
    ny, nx = data.shape
    for y in range(out.shape[0]):
        upper, lower = data[2 * y], data[min(2 * y + 1, ny - 1)]
        for x in range(nx // 2):
            out[y, x] = np.float32(0.25) * (upper[2 * x] + upper[2 * x + 1] + lower[2 * x] + lower[2 * x + 1])
        if nx % 2:
            out[y, nx // 2] = np.float32(0.5) * (upper[nx - 1] + lower[nx - 1])


@njit(nogil=True, cache=True)
def grow_bit(bits: Bits, bit: int) -> None:
    """Set the bit in the eight neighbours of each pixel that has it, in place."""
    ny, nx = bits.shape
    old, new = np.uint8(bit), np.uint8(128)
    found = False
    for y in range(ny):
        some = np.uint8(0)
        for x in range(nx):
            some |= bits[y, x]
        if some & old:
            found = True
            for x in range(nx):
                if bits[y, x] & old:
                    bits[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2] |= new
    if found:
        for y in range(ny):
            for x in range(nx):
                if bits[y, x] & new:
                    bits[y, x] = (bits[y, x] | old) & ~new


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def spoil(error: Plane, doubt: Plane, kernels: NDArray[np.float32], block: int, least: float) -> None:
    """Add to the error of each pixel what the doubts round it bring in through the kernel: |K| convolved with the doubt.

    error (h, w); doubt (h + k - 1, w + k - 1), mostly 0; kernels (blocks, k, k): of |K|, one for each `block` columns.  A
    doubt of at most `least` is passed over.
    """
    h, w = error.shape
    k = kernels.shape[1]
    for y in range(doubt.shape[0]):
        for x in range(doubt.shape[1]):
            value = doubt[y, x]
            if not value > least:
                continue
            # error[b, a] += K[i, j] doubt[b + k - 1 - i, a + k - 1 - j]
            kernel = kernels[min(max(x - k // 2, 0), w - 1) // block]
            first, last = max(x - k + 1, 0), min(x + 1, w)
            for b in range(max(y - k + 1, 0), min(y + 1, h)):
                row, taps = error[b], kernel[b + k - 1 - y]
                shift = k - 1 - x
                for a in range(first, last):
                    row[a] += value * taps[a + shift]
