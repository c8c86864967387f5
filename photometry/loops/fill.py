"""What stands in for pixels that mean nothing, before a convolution spreads them."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.loops.runs import RUN, some_bits

Plane = NDArray[np.float32]
Bits = NDArray[np.uint8]

SIGMAS = (1.0, 2.0, 4.0)  # pixels: of the Gaussians that fill ever larger holes
REACH = 13  # pixels: of the widest
FEWEST = 0.02  # of a Gaussian's weight that must be on usable pixels


@njit(nogil=True, cache=True)
def fill_holes(data: Plane, bits: Bits, worthless: int) -> None:
    """Each hole from the good pixels round it, by the narrowest Gaussian that reaches some; zero where none does."""
    ny, nx = data.shape
    weights = np.empty((len(SIGMAS), REACH + 1))
    for i in range(len(SIGMAS)):
        for r in range(REACH + 1):
            weights[i, r] = np.exp(-0.5 * (r / SIGMAS[i]) ** 2) / (SIGMAS[i] * np.sqrt(2 * np.pi))
    bad = np.uint8(worthless)
    for y in range(ny):
        for begin in range(0, nx, RUN):
            part = bits[y, begin : begin + RUN]
            if some_bits(part) & bad == 0:
                continue
            for x in range(begin, begin + part.size):
                if bits[y, x] & bad:
                    data[y, x] = _from_neighbours(data, bits, bad, weights, y, x)


@njit(nogil=True, cache=True)
def _from_neighbours(data: Plane, bits: Bits, bad: np.uint8, weights: NDArray[np.float64], y: int, x: int) -> float:
    ny, nx = data.shape
    for i in range(len(SIGMAS)):
        reach, step = int(3 * SIGMAS[i]) + 1, max(int(SIGMAS[i]) // 2, 1)  # wide ones are smooth: every other pixel will do
        weight, value = 0.0, 0.0
        for dy in range(-(reach // step) * step, reach + 1, step):
            b = y + dy
            if b < 0 or b >= ny:
                continue
            for dx in range(-(reach // step) * step, reach + 1, step):
                a = x + dx
                if a < 0 or a >= nx or bits[b, a] & bad:
                    continue
                w = weights[i, abs(dy)] * weights[i, abs(dx)]
                weight += w
                value += w * data[b, a]
        if weight * step * step > FEWEST:
            return value / weight
    return 0.0
