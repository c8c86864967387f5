"""Which places touch each other."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Places = NDArray[np.int64]


@njit(nogil=True, cache=True)
def label_groups(places: Places) -> Places:
    """(n,): the same number, one of its places' own, for all places of a group; corners touch.

    places (n, 2): y, x, in the order of rows and of columns within a row, none twice.
    """
    n = len(places)
    parent = np.arange(n)
    above = 0
    for i in range(n):
        y, x = places[i]
        if i and places[i - 1, 0] == y and places[i - 1, 1] == x - 1:
            _join(parent, i, i - 1)
        while places[above, 0] < y - 1 or (places[above, 0] == y - 1 and places[above, 1] < x - 1):
            above += 1
        k = above
        while places[k, 0] == y - 1 and places[k, 1] <= x + 1:
            _join(parent, i, k)
            k += 1
    for i in range(n):
        parent[i] = _root(parent, i)
    return parent


@njit(nogil=True, cache=True)
def _root(parent: Places, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(nogil=True, cache=True)
def _join(parent: Places, i: int, k: int) -> None:
    a, b = _root(parent, i), _root(parent, k)
    parent[max(a, b)] = min(a, b)
