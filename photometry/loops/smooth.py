"""A band of rows convolved with a small round Gaussian."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]


@njit(nogil=True, cache=True)
def clear_flagged(data: Plane, mask: NDArray[np.uint16], flags: int) -> None:
    """0 where the mask has any of the flags."""
    wanted = np.uint16(flags)
    for y in range(data.shape[0]):
        for x in range(data.shape[1]):
            data[y, x] = np.float32(0) if mask[y, x] & wanted else data[y, x]


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def smooth_rows(data: Plane, weights: Plane, first: int, out: Plane) -> None:
    """Out (h, nx) = data * (w x w), rows `first` to `first` + h of it; nothing lies beyond data.

    weights (r + 1,): of the middle and of its neighbours on either side.
    """
    ny, nx = data.shape
    reach = weights.size - 1
    line = np.zeros(nx + 2 * reach, np.float32)
    middle = line[reach : reach + nx]
    for y in range(out.shape[0]):
        centre = y + first
        middle[:] = 0
        for k in range(reach + 1):
            if k == 0:
                _add(data[centre], weights[0], middle)
                continue
            if centre - k >= 0:
                _add(data[centre - k], weights[k], middle)
            if centre + k < ny:
                _add(data[centre + k], weights[k], middle)
        target = out[y]
        _set(line[reach:], weights[0], target)
        for k in range(1, reach + 1):
            _add_pair(line[reach - k :], line[reach + k :], weights[k], target)


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _set(row: Plane, weight: np.float32, out: Plane) -> None:
    for x in range(out.size):
        out[x] = weight * row[x]


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _add(row: Plane, weight: np.float32, out: Plane) -> None:
    for x in range(out.size):
        out[x] += weight * row[x]


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _add_pair(left: Plane, right: Plane, weight: np.float32, out: Plane) -> None:
    for x in range(out.size):
        out[x] += weight * (left[x] + right[x])
