"""Which hills are sources of their own: those that stand out of the passes to higher ones."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Numbers = NDArray[np.int64]


@njit(nogil=True, cache=True)
def root_of(parent: Numbers, i: int) -> int:
    """The last of the chain from i on, which is made shorter."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(nogil=True, cache=True)
def join_over_passes(
    height: Plane, rank: Numbers, least: Plane, contrast: float, sides: Numbers, passes: Plane, blended: float
) -> tuple[Numbers, NDArray[np.bool_], NDArray[np.bool_]]:
    """(n,): for each hill the hill whose source it is part of; which have a neighbour over a pass above `blended`; and
    which stand on the slope of a higher one.

    height (n,), rank (n,): 0 the highest; sides (m, 2), passes (m,): hills that touch, the highest pass first.  Water that
    falls from above all tops uncovers the passes one by one: where two islands join, the lower one's top is a source if it
    stands above the pass by `least` of it and by a share `contrast` of the pass; else that island belongs to the hill on
    the other side of the pass.
    """
    n = height.size
    island, source = np.arange(n), np.arange(n)
    top, crowded, leaning = np.arange(n), np.zeros(n, np.bool_), np.zeros(n, np.bool_)
    for k in range(passes.size):
        a, b = sides[k]
        one, two = root_of(island, a), root_of(island, b)
        if one == two:
            continue
        if rank[top[two]] < rank[top[one]]:
            one, two, a, b = two, one, b, a
        lower = top[two]
        if height[lower] - passes[k] < max(least[lower], contrast * passes[k]):
            source[root_of(source, lower)] = root_of(source, a)
        else:
            leaning[lower] = True
            if passes[k] > blended:
                crowded[root_of(source, a)] = True
                crowded[root_of(source, b)] = True
        island[two] = one
    for i in range(n):
        source[i] = root_of(source, i)
        crowded[source[i]] |= crowded[i]
    return source, crowded, leaning


@njit(nogil=True, cache=True)
def add_parts(whole: Numbers, place: Numbers, moments: NDArray[np.float64], brightest: Plane, bright_at: Numbers) -> None:
    """Add each hill (n,) to the one that it is part of, `whole` (n,), itself where it is none's: in place.

    place, bright_at (n, 2): y, x; moments (n, 6) of light times 1, x, y, xx, yy, xy about the hill's place.
    """
    for i in range(whole.size):
        k = whole[i]
        if k == i:
            continue
        dy, dx = float(place[i, 0] - place[k, 0]), float(place[i, 1] - place[k, 1])
        light, x, y, xx, yy, xy = moments[i]
        moments[k, 0] += light
        moments[k, 1] += x + dx * light
        moments[k, 2] += y + dy * light
        moments[k, 3] += xx + 2 * dx * x + dx * dx * light
        moments[k, 4] += yy + 2 * dy * y + dy * dy * light
        moments[k, 5] += xy + dx * y + dy * x + dx * dy * light
        if brightest[i] > brightest[k]:
            brightest[k] = brightest[i]
            bright_at[k] = bright_at[i]


@njit(nogil=True, cache=True)
def passes_at_border(
    upper: NDArray[np.int32], lower: NDArray[np.int32], upper_score: Plane, lower_score: Plane
) -> tuple[Numbers, Plane]:
    """Pairs of hills (n, 2) that touch over the border of two bands, -1: none there, and the passes' heights (n,)."""
    nx = upper.size
    sides, height, count = np.empty((3 * nx, 2), np.int64), np.empty(3 * nx, np.float32), 0
    for x in range(nx):
        if upper[x] < 0:
            continue
        for i in range(max(x - 1, 0), min(x + 2, nx)):
            if lower[i] >= 0:
                sides[count, 0], sides[count, 1] = upper[x], lower[i]
                height[count] = min(upper_score[x], lower_score[i])
                count += 1
    return sides[:count].copy(), height[:count].copy()
