"""The pixels that a group of stars is fitted on: one rectangle, in which each star has its square.

What is seen of a star there, what is left of it, and why it may not be whole.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.loops.starlight import Plane, Scene

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# bits of `flags`
NOT_CONVERGED, EDGE, MASKED, SATURATED, BLENDED, PLACE_HELD, NO_FIT = 1, 2, 4, 8, 16, 32, 64


class Window(NamedTuple):
    """The rectangle of a group, its first pixel's place in the frame, and whether all of it is used.

    float32 planes: data less all others' light, that light, the group's own, weights, and 1 where a pixel is used, else 0.
    """

    y0: int
    x0: int
    whole: bool
    target: Plane
    others: Plane
    own: Plane
    weight: Plane
    used: Plane


@njit(nogil=True, cache=True, error_model="numpy")
def look(scene: Scene, found: Array, ids: Ints, half: int) -> Window:
    """The rectangle round all squares; beyond the frame nothing is used."""
    ny, nx = scene.data.shape
    y0, x0, y1, x1 = ny, nx, 0, 0
    for i in ids:
        xi, yi = round(found[i, 0]), round(found[i, 1])
        y0, y1, x0, x1 = min(y0, yi - half), max(y1, yi + half + 1), min(x0, xi - half), max(x1, xi + half + 1)
    planes = np.zeros((5, y1 - y0, x1 - x0), np.float32)
    useless = np.uint16(scene.useless)
    count = np.float32(0)
    left, right = max(x0, 0), min(x1, nx)
    for y in range(max(y0, 0), min(y1, ny)):
        data, model, mask = scene.data[y, left:right], scene.model[y, left:right], scene.mask[y, left:right]
        row, a0, a1 = y - y0, left - x0, right - x0
        target, others, used = planes[0, row, a0:a1], planes[1, row, a0:a1], planes[4, row, a0:a1]
        for a in range(data.size):
            use = mask[a] & useless == 0 and np.isfinite(data[a])
            used[a] = np.float32(1) if use else np.float32(0)
            target[a] = data[a] - model[a] if use else np.float32(0)
            others[a] = model[a]
            count += used[a]
    return Window(y0, x0, count == planes[0].size, planes[0], planes[1], planes[2], planes[3], planes[4])


@njit(nogil=True, cache=True, error_model="numpy")
def corner(window: Window, half: int, found: Array) -> tuple[int, int]:
    """Row and column of the window where a star's square begins."""
    return round(found[1]) - half - window.y0, round(found[0]) - half - window.x0


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def add_stamp(plane: Plane, window: Window, stamp: Plane, found: Array, factor: float) -> None:
    """To a plane of the window, so many times the star's stamp (k, at least k columns)."""
    size = stamp.shape[0]
    top, left = corner(window, size // 2, found)
    share = np.float32(factor)
    for b in range(size):
        row, own = plane[top + b, left : left + size], stamp[b, :size]
        for a in range(size):
            row[a] += share * own[a]


@njit(nogil=True, cache=True, error_model="numpy")
def seen_share(window: Window, stamp: Plane, found: Array) -> float:
    """The share of the PSF's squares on used pixels."""
    if window.whole:
        return 1.0
    size = stamp.shape[0]
    top, left = corner(window, size // 2, found)
    seen = total = 0.0
    for b in range(size):
        for a in range(size):
            square = stamp[b, a] * stamp[b, a]
            total += square
            seen += window.used[top + b, left + a] * square
    return seen / total if total > 0 else 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def why_not_whole(window: Window, half: int, found: Array, scene: Scene) -> int:
    """EDGE, MASKED and SATURATED, as they are on a star's square."""
    flags = 0
    if window.whole:
        return flags
    ny, nx = scene.data.shape
    top, left = corner(window, half, found)
    for b in range(2 * half + 1):
        for a in range(2 * half + 1):
            y, x = window.y0 + top + b, window.x0 + left + a
            if not (0 <= y < ny and 0 <= x < nx):
                flags |= EDGE
            elif not window.used[top + b, left + a]:
                flags |= MASKED
                if abs(b - half) <= 1 and abs(a - half) <= 1 and scene.mask[y, x] & scene.saturated:
                    flags |= SATURATED
    return flags


@njit(nogil=True, cache=True, error_model="numpy")
def reduced_chi2(window: Window, half: int, found: Array) -> float:
    """Reduced, of a star's own square; NaN with no more pixels than parameters."""
    top, left = corner(window, half, found)
    total, count = 0.0, -3.0
    for y in range(top, top + 2 * half + 1):
        for x in range(left, left + 2 * half + 1):
            total += (window.target[y, x] - window.own[y, x]) ** 2 * window.weight[y, x]
            count += window.used[y, x]
    return total / count if count > 0 else np.nan
