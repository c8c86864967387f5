"""Stars of a band of rows, found in passing: the local maxima well above the sky, the brightest few of each cell."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Bits = NDArray[np.uint8]

HALF = 3  # pixels: of the square whose light is summed, and the least distance from the border
FIELDS = 9  # x, y, flux, peak, noise of a pixel, and the four ratios of opposite neighbours to the peak


@njit(nogil=True, cache=True)
def find_peaks(
    data: Plane, bits: Bits, level: Plane, sigma: Plane, side: int, first: int, rows: int, limit: float, most: int
) -> NDArray[np.float32]:
    """(n, 9) float32: FIELDS of the maxima of 5 x 5 pixels that stand `limit` sigmas above their cell's level.

    data, bits (>= rows + 2 HALF, nx): a band with HALF rows before and behind those that are searched; its row `first` is
    row 0 of the result.  level, sigma (cells,): of the row of cells; at most `most` of each cell, the brightest.
    """
    nx = data.shape[1]
    out = np.empty((most * level.size, FIELDS), np.float32)
    total = 0
    for i in range(level.size):
        if np.isfinite(level[i]):
            x0, x1 = max(i * side, HALF), min(nx if i == level.size - 1 else (i + 1) * side, nx - HALF)
            y0, y1 = max(first, HALF), min(first + rows, data.shape[0] - HALF)
            part = out[total : total + most]
            count = _peaks_of_cell(data, bits, y0, y1, x0, x1, level[i], np.float32(level[i] + limit * sigma[i]), part)
            part[:count, 1] -= first
            part[:count, 4] = sigma[i]
            total += count
    return out[:total].copy()


@njit(nogil=True, cache=True)
def _peaks_of_cell(
    data: Plane, bits: Bits, y0: int, y1: int, x0: int, x1: int, sky: float, least: np.float32, out: NDArray[np.float32]
) -> int:
    """Describe the brightest peaks above `least` of a cell in `out`; how many."""
    count = 0
    for y in range(y0, y1):
        highest = np.float32(-np.inf)
        for x in range(x0, x1):
            highest = max(highest, data[y, x])
        if not highest > least:
            continue
        for x in range(x0, x1):
            if data[y, x] > least and _is_peak(data, bits, y, x):
                if count < len(out):
                    place, count = count, count + 1
                else:
                    place = _faintest(out)
                    if out[place, 3] >= data[y, x] - sky:
                        continue
                _describe(data, y, x, sky, out[place])
    return count


@njit(nogil=True, cache=True)
def _faintest(rows: NDArray[np.float32]) -> int:
    best = 0
    for i in range(1, rows.shape[0]):
        if rows[i, 3] < rows[best, 3]:
            best = i
    return best


@njit(nogil=True, cache=True)
def _is_peak(data: Plane, bits: Bits, y: int, x: int) -> bool:
    """Highest of 5 x 5, nothing flagged within 3 x 3; of equal pixels the first."""
    value = data[y, x]
    for b in range(y - 2, y + 3):
        for a in range(x - 2, x + 3):
            other = data[b, a]
            if other > value or (other == value and (b < y or (b == y and a < x))):
                return False
            if abs(b - y) <= 1 and abs(a - x) <= 1 and bits[b, a] != 0:
                return False
    return True


@njit(nogil=True, cache=True)
def _describe(data: Plane, y: int, x: int, sky: float, row: NDArray[np.float32]) -> None:
    """FIELDS of a peak: the place from parabolas, the light of 7 x 7 pixels."""
    value = data[y, x] - sky
    total = 0.0
    for b in range(y - HALF, y + HALF + 1):
        for a in range(x - HALF, x + HALF + 1):
            total += data[b, a] - sky
    row[0] = x + vertex(data[y, x - 1], data[y, x], data[y, x + 1])
    row[1] = y + vertex(data[y - 1, x], data[y, x], data[y + 1, x])
    row[2], row[3] = total, value
    row[5] = (data[y, x + 1] + data[y, x - 1] - 2 * sky) / (2 * value)
    row[6] = (data[y + 1, x] + data[y - 1, x] - 2 * sky) / (2 * value)
    row[7] = (data[y + 1, x + 1] + data[y - 1, x - 1] - 2 * sky) / (2 * value)
    row[8] = (data[y + 1, x - 1] + data[y - 1, x + 1] - 2 * sky) / (2 * value)


@njit(nogil=True, cache=True)
def vertex(low: float, middle: float, high: float) -> float:
    """Where the parabola through three points has its top, -0.5 ... 0.5."""
    curve = low - 2 * middle + high
    return min(max(0.5 * (low - high) / curve, -0.5), 0.5) if curve < 0 else 0.0
