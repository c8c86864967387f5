"""The hills of a map: which pixels lead up to which top, how much light each hill has, and how high the passes between them.

A band of rows at a time.  From each pixel above the floor one climbs to the highest of its neighbours, until a top is
reached or the band is left; a hill that is left by its border is part of one in the next band.  Of equal heights the one
further up the frame, then further left, is the higher, so that it does not matter where the bands lie.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.loops.peaks import vertex

Plane = NDArray[np.float32]
Labels = NDArray[np.int32]

MOMENTS = 6  # sums of light times 1, x, y, xx, yy, xy, from the hill's top
NONE = np.int32(-1)
FREE = np.int64(-1)


class Hills(NamedTuple):
    """place (n, 2): y, x of the top, or of the first pixel beyond the band; height (n,) there, vertex (n, 2): y, x of the
    tops of parabolas through it and its neighbours; moments (n, 6) float64; brightest (n,): the highest value, bright_at
    (n, 2): y, x of it, -1 where none is usable.  first, last (nx,): the hill of each pixel of the band's first and last
    row, -1: below the floor.
    """

    place: NDArray[np.int64]
    height: Plane
    vertex: NDArray[np.float64]
    moments: NDArray[np.float64]
    brightest: Plane
    bright_at: NDArray[np.int64]
    first: Labels
    last: Labels


class Passes(NamedTuple):
    """Between hills (n, 2) of a band, the height of the highest pass (n,)."""

    hills: Labels
    height: Plane


@njit(nogil=True, cache=True)
def find_hills(score: Plane, data: Plane, hidden: NDArray[np.bool_], y0: int, floor: float) -> tuple[Hills, Passes]:
    """Score (h + 2, nx): of a row before and one behind the h of the band, -inf beyond the frame; the band's first is y0.

    data, hidden (h, nx): the light that is summed, and where it means nothing.
    """
    label = _climb(score, np.float32(floor))
    h, nx = data.shape
    count = 0
    for y in range(h + 2):
        for x in range(nx):
            if label[y, x] >= 0 and _is_end(label, y, x):
                count += 1
    place, height = np.empty((count, 2), np.int64), np.empty(count, np.float32)
    count = 0
    for y in range(h + 2):
        for x in range(nx):
            if label[y, x] >= 0 and _is_end(label, y, x):
                place[count, 0], place[count, 1], height[count] = y + y0 - 1, x, score[y, x]
                label[y, x] = -2 - count
                count += 1
    vertex = _vertices(score, place, y0)
    _number(label)
    moments, brightest, bright_at = _sum_light(label, data, hidden, place, y0)
    passes = _find_passes(label, score, count)
    return Hills(place, height, vertex, moments, brightest, bright_at, label[1].copy(), label[h].copy()), passes


@njit(nogil=True, cache=True)
def _climb(score: Plane, floor: np.float32) -> Labels:
    """(h + 2, nx): for a pixel of the band above the floor, where it leads, as y * nx + x; for others -1.

    The first and the last row have a place of their own where one is led to.
    """
    ny, nx = score.shape
    lead = np.full((ny, nx), NONE, np.int32)
    for y in range(1, ny - 1):
        for x in range(nx):
            if not score[y, x] > floor:
                continue
            best, b, a = score[y, x], y, x
            for j in range(y - 1, y + 2):
                for i in range(max(x - 1, 0), min(x + 2, nx)):
                    value = score[j, i]
                    if value > best or (value == best and (j < b or (j == b and i < a))):
                        best, b, a = value, j, i
            lead[y, x] = b * nx + a
            if b == 0 or b == ny - 1:
                lead[b, a] = b * nx + a
    return lead


@njit(nogil=True, cache=True)
def _is_end(lead: Labels, y: int, x: int) -> bool:
    return bool(lead[y, x] == y * lead.shape[1] + x)


@njit(nogil=True, cache=True)
def _number(lead: Labels) -> None:
    """From where a pixel leads to, to the number of the hill; tops and exits hold -2 - number."""
    flat = lead.reshape(-1)
    for start in range(flat.size):
        if flat[start] < 0:
            continue
        end = start
        while flat[end] >= 0:
            end = flat[end]
        final, k = flat[end], start
        while flat[k] >= 0:
            following = flat[k]
            flat[k] = final
            k = following
    for k in range(flat.size):
        if flat[k] < NONE:
            flat[k] = -2 - flat[k]


@njit(nogil=True, cache=True)
def _vertices(score: Plane, place: NDArray[np.int64], y0: int) -> NDArray[np.float64]:
    ny, nx = score.shape
    out = np.empty((len(place), 2))
    for k in range(len(place)):
        y, x = place[k, 0] - y0 + 1, place[k, 1]
        out[k] = place[k]
        if 0 < y < ny - 1 and 0 < x < nx - 1 and score[y - 1, x] > -np.inf and score[y + 1, x] > -np.inf:
            out[k, 0] += vertex(score[y - 1, x], score[y, x], score[y + 1, x])
            out[k, 1] += vertex(score[y, x - 1], score[y, x], score[y, x + 1])
    return out


@njit(nogil=True, cache=True)
def _sum_light(
    label: Labels, data: Plane, hidden: NDArray[np.bool_], place: NDArray[np.int64], y0: int
) -> tuple[NDArray[np.float64], Plane, NDArray[np.int64]]:
    n = len(place)
    moments = np.zeros((n, MOMENTS))
    brightest, bright_at = np.full(n, -np.inf, np.float32), np.full((n, 2), -1, np.int64)
    for y in range(data.shape[0]):
        for x in range(data.shape[1]):
            k = label[y + 1, x]
            if k < 0 or hidden[y, x]:
                continue
            value = data[y, x]
            if value > brightest[k]:
                brightest[k], bright_at[k, 0], bright_at[k, 1] = value, y + y0, x
            light = max(float(value), 0.0)
            dy, dx = float(y + y0 - place[k, 0]), float(x - place[k, 1])
            row = moments[k]
            row[0] += light
            row[1] += light * dx
            row[2] += light * dy
            row[3] += light * dx * dx
            row[4] += light * dy * dy
            row[5] += light * dx * dy
    return moments, brightest, bright_at


@njit(nogil=True, cache=True)
def _find_passes(label: Labels, score: Plane, count: int) -> Passes:
    """The highest pass between each two hills that touch within the band; in a table that is looked up by both."""
    size = 64
    while size < 8 * count:
        size *= 2
    keys, heights, used = np.full(size, FREE), np.empty(size, np.float32), 0
    ny, nx = label.shape
    for y in range(1, ny - 1):
        for x in range(nx):
            own = label[y, x]
            if own < 0:
                continue
            for j, i in ((y, x + 1), (y + 1, x - 1), (y + 1, x), (y + 1, x + 1)):
                other = label[j, i] if j < ny - 1 and 0 <= i < nx else NONE
                if other >= 0 and other != own:
                    key = np.int64(min(own, other)) * count + max(own, other)
                    used += _raise_pass(keys, heights, key, min(score[y, x], score[j, i]))
            if 2 * used + 8 > keys.size:
                keys, heights = _larger(keys, heights)
    return _listed(keys, heights, used, count)


@njit(nogil=True, cache=True)
def _listed(keys: NDArray[np.int64], heights: Plane, used: int, count: int) -> Passes:
    hills, height, k = np.empty((used, 2), np.int32), np.empty(used, np.float32), 0
    for slot in range(keys.size):
        if keys[slot] != FREE:
            hills[k, 0], hills[k, 1], height[k] = keys[slot] // count, keys[slot] % count, heights[slot]
            k += 1
    return Passes(hills, height)


@njit(nogil=True, cache=True)
def _raise_pass(keys: NDArray[np.int64], heights: Plane, key: int, height: np.float32) -> int:
    """Keep the pass if it is the highest of its key; 1 where the key is new."""
    slot = (key * 0x9E3779B1) % keys.size
    while keys[slot] != FREE and keys[slot] != key:
        slot = (slot + 1) % keys.size
    if keys[slot] == key:
        heights[slot] = max(heights[slot], height)
        return 0
    keys[slot], heights[slot] = key, height
    return 1


@njit(nogil=True, cache=True)
def _larger(keys: NDArray[np.int64], heights: Plane) -> tuple[NDArray[np.int64], Plane]:
    more, higher = np.full(2 * keys.size, FREE), np.empty(2 * keys.size, np.float32)
    for slot in range(keys.size):
        if keys[slot] != FREE:
            _raise_pass(more, higher, keys[slot], heights[slot])
    return more, higher
