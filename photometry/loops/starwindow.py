"""The pixels that a group of stars is fitted on: one rectangle, in which each star has its square.

What is seen of a star there, what is left of it, and why it may not be whole.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.loops.starlight import Scene

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# bits of `flags`
NOT_CONVERGED, EDGE, MASKED, SATURATED, BLENDED, PLACE_HELD, NO_FIT = 1, 2, 4, 8, 16, 32, 64


class Window(NamedTuple):
    """The rectangle of a group: data less all others' light, that light, the group's own, weights, which pixels are used."""

    y0: int
    x0: int
    target: Array
    others: Array
    own: Array
    weight: Array
    used: NDArray[np.bool_]


@njit(nogil=True, cache=True, error_model="numpy")
def look(scene: Scene, found: Array, ids: Ints, half: int) -> Window:
    """The rectangle round all squares, within the frame."""
    ny, nx = scene.data.shape
    y0, x0, y1, x1 = ny, nx, 0, 0
    for i in ids:
        xi, yi = round(found[i, 0]), round(found[i, 1])
        y0, y1, x0, x1 = min(y0, yi - half), max(y1, yi + half + 1), min(x0, xi - half), max(x1, xi + half + 1)
    y0, y1, x0, x1 = max(y0, 0), min(y1, ny), max(x0, 0), min(x1, nx)
    h, w = y1 - y0, x1 - x0
    target, others, used = np.empty((h, w)), np.empty((h, w)), np.empty((h, w), np.bool_)
    for b in range(h):
        for a in range(w):
            light, known = scene.data[y0 + b, x0 + a], scene.model[y0 + b, x0 + a]
            used[b, a] = not scene.mask[y0 + b, x0 + a] & scene.useless and np.isfinite(light)
            target[b, a] = np.float64(light) - known if used[b, a] else 0.0
            others[b, a] = known
    return Window(y0, x0, target, others, np.empty((h, w)), np.empty((h, w)), used)


@njit(nogil=True, cache=True, error_model="numpy")
def inside(window: Window, half: int, found: Array) -> tuple[int, int, int, int, int, int]:
    """Where a star's square begins in the window, and the part of the square within the frame: b0, b1, a0, a1."""
    top, left = round(found[1]) - half - window.y0, round(found[0]) - half - window.x0
    h, w = window.target.shape
    return top, left, max(0, -top), min(2 * half + 1, h - top), max(0, -left), min(2 * half + 1, w - left)


@njit(nogil=True, cache=True, error_model="numpy")
def add_stamp(plane: Array, window: Window, stamp: Array, found: Array, factor: float) -> None:
    """To a plane of the window, so many times the star's stamp."""
    top, left, b0, b1, a0, a1 = inside(window, stamp.shape[0] // 2, found)
    for b in range(b0, b1):
        for a in range(a0, a1):
            plane[top + b, left + a] += factor * stamp[b, a]


@njit(nogil=True, cache=True, error_model="numpy")
def seen_share(window: Window, stamp: Array, found: Array) -> float:
    """The share of the PSF's squares on used pixels."""
    top, left, b0, b1, a0, a1 = inside(window, stamp.shape[0] // 2, found)
    seen, total = 0.0, (stamp**2).sum()
    for b in range(b0, b1):
        for a in range(a0, a1):
            if window.used[top + b, left + a]:
                seen += stamp[b, a] ** 2
    return seen / total if total > 0 else 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def why_not_whole(window: Window, half: int, found: Array, scene: Scene) -> int:
    """EDGE, MASKED and SATURATED, as they are on a star's square."""
    top, left, b0, b1, a0, a1 = inside(window, half, found)
    flags = EDGE if b1 - b0 < 2 * half + 1 or a1 - a0 < 2 * half + 1 else 0
    for b in range(b0, b1):
        for a in range(a0, a1):
            if not window.used[top + b, left + a]:
                flags |= MASKED
                bits = scene.mask[window.y0 + top + b, window.x0 + left + a]
                if abs(b - half) <= 1 and abs(a - half) <= 1 and bits & scene.saturated:
                    flags |= SATURATED
    return flags


@njit(nogil=True, cache=True, error_model="numpy")
def reduced_chi2(window: Window, half: int, found: Array) -> float:
    """Reduced, of a star's own square; NaN with no more pixels than parameters."""
    top, left, b0, b1, a0, a1 = inside(window, half, found)
    total, count = 0.0, -3
    for b in range(b0, b1):
        for a in range(a0, a1):
            y, x = top + b, left + a
            total += (window.target[y, x] - window.own[y, x]) ** 2 * window.weight[y, x]
            count += window.used[y, x]
    return total / count if count > 0 else np.nan
