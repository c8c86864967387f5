"""Triangles of neighbouring stars, whose sides do not change when the frame turns, shifts or is mirrored (Groth 1986)."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]


def neighbour_triangles(places: Array, neighbours: int) -> tuple[Array, NDArray[np.int64]]:
    """Sides (n, 3), rising, and corners (n, 3), each opposite its side, of each place's triangles with its neighbours.

    places (m, 2 or 3), m >= 3.  Slivers, whose shortest side is under a tenth of the longest, say little and are left out.
    """
    k = min(neighbours + 1, len(places))
    _, near = cKDTree(places).query(places, k=k)
    first, second = np.triu_indices(k - 1, 1)
    corners = np.stack(
        [
            np.repeat(np.arange(len(places)), len(first)),
            near[:, 1:][:, first].ravel(),
            near[:, 1:][:, second].ravel(),
        ],
        axis=1,
    )
    corners = _distinct(np.sort(corners, axis=1), len(places))
    p = places[corners]
    sides = np.linalg.norm(p[:, [1, 2, 0]] - p[:, [2, 0, 1]], axis=2)
    order = np.argsort(sides, axis=1)
    sides = np.take_along_axis(sides, order, axis=1)
    corners = np.take_along_axis(corners, order, axis=1)
    keep = sides[:, 0] > 0.1 * sides[:, 2]
    return sides[keep], corners[keep]


def _distinct(corners: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Rows of numbers under n, each once, in order."""
    keys = np.unique((corners[:, 0] * n + corners[:, 1]) * n + corners[:, 2])
    return np.stack([keys // (n * n), keys // n % n, keys % n], axis=1)
