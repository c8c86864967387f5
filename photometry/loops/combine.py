"""Many frames into one, pixel by pixel, without what only a few of them show: stars, cosmic rays."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Stack = NDArray[np.float32]
Flags = NDArray[np.uint16]

CLIP_SIGMA = 4.5
UNSTABLE = 25.0  # times the variance that a pixel's noise explains, over at least FEWEST frames
FEWEST = 5
LEAST_SPREAD = 1e-6  # of the levels, relative: below it they are one


@njit(nogil=True, cache=True)
def combine(values: Stack, variances: Stack, flags: Flags, mean: Plane, noise: Plane, unstable: NDArray[np.bool_]) -> int:
    """Clipped mean and its variance of each pixel; how many values were clipped.

    values, variances (n, h, w); flags (n, h, w): not 0: no value; mean, noise, unstable (h, w): out.  A value is clipped
    that stands further off the median than CLIP_SIGMA times its own noise or the median deviation, whichever is larger.
    A pixel without any value: mean 0, noise 0, unstable.
    """
    n, h, w = values.shape
    clipped = 0
    row, order = np.empty(n, np.float32), np.empty(n, np.float32)
    for y in range(h):
        for x in range(w):
            count, own = 0, 0.0
            for i in range(n):
                if flags[i, y, x] == 0:
                    row[count] = values[i, y, x]
                    own += variances[i, y, x]
                    count += 1
            if count == 0:
                mean[y, x], noise[y, x], unstable[y, x] = 0, 0, True
                continue
            middle = _median(row, order, count)
            for i in range(count):
                row[i] = abs(row[i] - middle)
            spread = 1.4826 * _median(row, order, count)
            limit = CLIP_SIGMA * CLIP_SIGMA * max(own / count, spread * spread)
            total, kept, variance, square = 0.0, 0, 0.0, 0.0
            for i in range(n):
                off = values[i, y, x] - middle
                if flags[i, y, x] != 0:
                    continue
                if off * off > limit:
                    clipped += 1
                    continue
                total += off
                square += off * off
                variance += variances[i, y, x]
                kept += 1
            mean[y, x] = middle + total / kept
            noise[y, x] = variance / (kept * kept)
            scatter = square / kept - (total / kept) ** 2
            unstable[y, x] = kept >= FEWEST and scatter > UNSTABLE * variance / kept
    return clipped


@njit(nogil=True, cache=True)
def regress(
    values: Stack, variances: Stack, flags: Flags, levels: NDArray[np.float32], order: NDArray[np.int64], at_zero: Plane,
    noise: Plane,
) -> None:  # fmt: skip
    """Each pixel's value where the level is zero, by a line through its values against the frames' levels; its variance.

    values, variances, flags as in `combine`; levels (n,), in the values' unit: a value rises about as its level does;
    order (n,): their argsort.  The first line runs through the medians of the lower and the upper half; what stands off
    it by more than CLIP_SIGMA is clipped, then all others count alike.  A pixel with values on one level only: 0, noise 0.
    """
    n, h, w = values.shape
    low, scratch = np.empty(n, np.float32), np.empty(n, np.float32)
    half = n // 2
    for y in range(h):
        for x in range(w):
            a, p = _middle(values[:, y, x], flags[:, y, x], levels, order[:half], low, scratch)
            b, q = _middle(values[:, y, x], flags[:, y, x], levels, order[half:], low, scratch)
            slope = (q - p) / (b - a) if b > a else 0.0
            kept, sx, sy, sxx, sxy, own = 0, 0.0, 0.0, 0.0, 0.0, 0.0
            for i in range(n):
                value, level, variance = values[i, y, x], levels[i], variances[i, y, x]
                off = value - level - p - slope * (level - a)
                if flags[i, y, x] == 0 and off * off <= CLIP_SIGMA * CLIP_SIGMA * variance:
                    kept += 1
                    sx += level
                    sxx += level * level
                    sy += value
                    sxy += level * value
                    own += variance
            spread = kept * sxx - sx * sx
            if kept < 2 or spread <= LEAST_SPREAD * kept * sxx:
                at_zero[y, x], noise[y, x] = 0, 0
            else:
                at_zero[y, x], noise[y, x] = (sxx * sy - sx * sxy) / spread, own / kept * sxx / spread


@njit(nogil=True, cache=True)
def _middle(
    values: NDArray[np.float32], flags: NDArray[np.uint16], levels: NDArray[np.float32], some: NDArray[np.int64],
    room: NDArray[np.float32], scratch: NDArray[np.float32],
) -> tuple[float, float]:  # fmt: skip
    """Mean level of some of a pixel's frames, and the median of its values less their levels; zeros without any."""
    count, level = 0, 0.0
    for i in some:
        if flags[i] == 0:
            room[count] = values[i] - levels[i]
            level += levels[i]
            count += 1
    if count == 0:
        return 0.0, 0.0
    return level / count, _median(room, scratch, count)


@njit(nogil=True, cache=True)
def _median(values: NDArray[np.float32], order: NDArray[np.float32], count: int) -> float:
    """Of the first `count` values; order: room for them."""
    for i in range(count):
        value = values[i]
        k = i
        while k > 0 and order[k - 1] > value:
            order[k] = order[k - 1]
            k -= 1
        order[k] = value
    half = count // 2
    return float(order[half]) if count % 2 else 0.5 * (float(order[half - 1]) + float(order[half]))
