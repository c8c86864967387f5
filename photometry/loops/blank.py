"""Where no source is seen, and what the sky is there."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Flags = NDArray[np.uint8]

CLIP_SIGMA = 4.0  # closer to the middle the skewness of photon noise would show
ROUNDS = 3
SAMPLE_STEP = 16


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def box_mean(data: Plane, reach: int, out: Plane) -> None:
    """Means of squares of 2 reach + 1 pixels: out (h, w) from data (h + 2 reach, w + 2 reach)."""
    h, w = out.shape
    line = np.empty(w + 2 * reach, np.float32)
    share = np.float32(1 / (2 * reach + 1) ** 2)
    for y in range(h):
        line[:] = data[y]
        for j in range(1, 2 * reach + 1):
            row = data[y + j]
            for x in range(line.size):
                line[x] += row[x]
        target = out[y]
        for x in range(w):
            total = np.float32(0)
            for i in range(2 * reach + 1):
                total += line[x + i]
            target[x] = share * total


@njit(nogil=True, cache=True)
def mark_lit(smooth: Plane, sigma: Plane, share: float, least: float, reach: int, lit: Flags) -> None:
    """Set `lit` within `reach` of where the smoothed light is above both `least` and a share of a pixel's sigma.

    smooth, sigma (h + 2 reach, w); lit (h, w) of the middle rows.
    """
    h, w = lit.shape
    for y in range(smooth.shape[0]):
        for x in range(w):
            if smooth[y, x] > least and smooth[y, x] > share * sigma[y, x]:
                for b in range(max(y - 2 * reach, 0), min(y + 1, h)):
                    for a in range(max(x - reach, 0), min(x + reach + 1, w)):
                        lit[b, a] = 1


@njit(nogil=True, cache=True)
def clipped_sky(
    data: Plane, sigma: Plane, lit: Flags, bad: NDArray[np.uint16], side: int, fewest: float, out: Plane
) -> None:
    """(cells,): the mean of each cell's blank pixels, clipped at CLIP_SIGMA of their own noise; NaN of too few.

    data, bad (h, nx): one row of cells; sigma, lit of 2 x 2 pixels.  The last cell reaches to the end.
    """
    h, nx = data.shape
    values = np.empty((2 * side + 1) * h, np.float32)
    for i in range(out.size):
        x0, x1 = i * side, nx if i == out.size - 1 else (i + 1) * side
        count, seen, noise = 0, 0, np.float32(0)
        for y in range(h):
            row, flags, quiet, own = data[y, x0:x1], bad[y, x0:x1], lit[y // 2, x0 // 2 :], sigma[y // 2, x0 // 2 :]
            for k in range((row.size + 1) // 2):
                if quiet[k]:
                    continue
                seen += 1
                noise += own[k]
                for x in range(2 * k, min(2 * k + 2, row.size)):
                    values[count] = row[x]
                    count += flags[x] == 0
        out[i] = np.nan
        if count > fewest * side * side:
            out[i] = _clipped(values[:count], np.float32(CLIP_SIGMA * noise / seen))


@njit(nogil=True, cache=True)
def _clipped(values: Plane, limit: np.float32) -> np.float32:
    """Mean of what lies within the limit of it."""
    middle = np.float32(np.median(values[::SAMPLE_STEP]))
    for _ in range(ROUNDS):
        middle += _mean_within(values, middle, limit)
    return middle


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _mean_within(values: Plane, middle: np.float32, limit: np.float32) -> np.float32:
    """Mean offset of what lies within the limit of the middle; 0 of nothing."""
    n, total = np.float32(0), np.float32(0)
    for k in range(values.size):
        off = values[k] - middle
        weight = np.float32(1) if off * off < limit * limit else np.float32(0)  # several at once only where it is multiplied
        n += weight
        total += weight * off
    return total / max(n, np.float32(1))
