"""Rows and columns against their neighbours."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]

WINSOR_SIGMA = np.float32(2)  # as far as a pixel may speak for its line


@njit(nogil=True, cache=True)
def line_means(data: Plane, level: Plane, sigma: Plane, side: int, columns: Plane, rows: Plane) -> None:
    """How far lines lie from the sky of their cell, in its sigmas: means of what is cut off at WINSOR_SIGMA.

    data (h, nx); columns (nx,): of each column over all h rows; rows (h, cells): of each row within a cell.  A cell
    without sky gives 0.
    """
    h, nx = data.shape
    columns[:] = 0
    for i in range(level.size):
        x0, x1 = i * side, nx if i == level.size - 1 else (i + 1) * side
        for y in range(h):
            rows[y, i] = 0
        if np.isfinite(level[i]):
            for y in range(h):
                line = _winsorised(data[y, x0:x1], level[i], np.float32(1) / sigma[i], columns[x0:x1])
                rows[y, i] = line / np.float32(x1 - x0)
    for x in range(nx):
        columns[x] /= np.float32(h)


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _winsorised(row: Plane, level: np.float32, scale: np.float32, columns: Plane) -> np.float32:
    """Add each pixel's offset to its column's; the sum."""
    total = np.float32(0)
    for x in range(row.size):
        off = min(max((row[x] - level) * scale, -WINSOR_SIGMA), WINSOR_SIGMA)
        columns[x] += off
        total += off
    return total


@njit(nogil=True, cache=True)
def off_neighbours(means: Plane, width: int, out: Plane) -> None:
    """Each value less the median of the `width` (odd) values of its row round it; mirrored at the ends.

    means, out (cells, lines), lines >= width.
    """
    half = width // 2
    order = np.empty(width, np.float32)
    for j in range(means.shape[0]):
        row = means[j]
        n = row.size
        for k in range(width):
            _insert(order, k, row[abs(k - half)])
        for x in range(n):
            out[j, x] = row[x] - order[half]
            last = x + half + 1
            _replace(order, row[abs(x - half)], row[last if last < n else 2 * (n - 1) - last])


@njit(nogil=True, cache=True)
def _insert(order: Plane, count: int, value: np.float32) -> None:
    """Put a value among `count` sorted ones."""
    i = count
    while i > 0 and order[i - 1] > value:
        order[i] = order[i - 1]
        i -= 1
    order[i] = value


@njit(nogil=True, cache=True)
def _replace(order: Plane, old: np.float32, new: np.float32) -> None:
    """Put a value in the place of one of the sorted ones, which stay sorted."""
    i = 0
    while i < order.size - 1 and order[i] != old:
        i += 1
    while i < order.size - 1 and order[i + 1] < new:
        order[i] = order[i + 1]
        i += 1
    while i > 0 and order[i - 1] > new:
        order[i] = order[i - 1]
        i -= 1
    order[i] = new
