"""Which stars are fitted together: friends of friends, and what is too many of them cut where they are farthest apart."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

LARGEST_GROUP = 8
_SHORTER = 0.85  # the next link of a group that is too large
_SHORTEST = 1e-3  # pixels: what is closer is at one place, and fitted alone


def friends(x: NDArray[np.float64], y: NDArray[np.float64], link: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(members, starts): group g is members[starts[g]:starts[g + 1]], in rows of the frame from top to bottom.

    Stars closer than `link` pixels are in one group; of more than LARGEST_GROUP the links are shortened until all are
    smaller, so that those stay together whose light overlaps most.
    """
    label = np.zeros(len(x), np.int64)
    todo, reach, used = np.arange(len(x)), link, 0
    while len(todo):
        if reach < _SHORTEST:
            label[todo] = used + np.arange(len(todo))
            break
        count, part = _linked(x[todo], y[todo], reach)
        small = np.bincount(part, minlength=count)[part] <= LARGEST_GROUP
        label[todo[small]] = used + part[small]
        used += count
        todo, reach = todo[~small], reach * _SHORTER
    top = np.full(label.max(initial=0) + 1, np.inf)
    np.minimum.at(top, label, y)
    members = np.lexsort((label, top[label]))
    starts = np.r_[0, np.flatnonzero(np.diff(label[members])) + 1, len(x)] if len(x) else np.zeros(1)
    return members, starts.astype(np.int64)


def _linked(x: NDArray[np.float64], y: NDArray[np.float64], reach: float) -> tuple[int, NDArray[np.int64]]:
    """How many groups, and each star's."""
    pairs = cKDTree(np.column_stack([x, y])).query_pairs(reach, output_type="ndarray")
    graph = coo_matrix((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(x), len(x)))
    count, part = connected_components(graph, directed=False)
    return int(count), part.astype(np.int64)
