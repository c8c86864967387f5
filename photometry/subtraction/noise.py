"""The smooth noise of a frame: what its blank sky has, and what its light adds."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.image import Image

Plane = NDArray[np.float32]

MESH_PIXELS = 32


def sky_variance(image: Image, holes: NDArray[np.bool_]) -> Plane:
    """(ny, nx) float32, unit^2: the variance that would be there without the light of sources, > 0 everywhere.

    The variance minus data / gain, its noise gone in the medians of a mesh.
    """
    ny, nx = image.shape
    my, mx = -(-ny // MESH_PIXELS), -(-nx // MESH_PIXELS)
    plain = image.variance - image.data / np.float32(image.gain)
    plain = np.where(holes, np.nan, plain)
    nodes = np.full((my, mx), np.nan)
    for j in range(my):
        rows = plain[j * MESH_PIXELS : (j + 1) * MESH_PIXELS]
        if rows.shape[0] == MESH_PIXELS and nx % MESH_PIXELS == 0:
            cells = rows.reshape(MESH_PIXELS, mx, MESH_PIXELS).transpose(1, 0, 2)[:, ::2, ::2].reshape(mx, -1)
            nodes[j] = _medians(cells)
        else:
            for i in range(mx):
                nodes[j, i] = _medians(rows[None, :, i * MESH_PIXELS : (i + 1) * MESH_PIXELS].reshape(1, -1))[0]
    known = np.isfinite(nodes) & (nodes > 0)
    if not known.any():
        return np.full(image.shape, max(float(np.nanmedian(image.variance)), 1e-6), np.float32)
    middle = float(np.median(nodes[known]))
    nodes = np.where(known, nodes, middle)
    nodes = ndimage.median_filter(nodes, 3, mode="nearest")
    nodes = np.maximum(nodes, 0.05 * middle)
    return spread_mesh(nodes, image.shape, MESH_PIXELS)


def _medians(cells: NDArray[np.floating]) -> NDArray[np.float64]:
    """Median of each row's finite values; NaN where fewer than a quarter are."""
    ordered = np.sort(cells, axis=1)  # NaN last
    count = np.isfinite(cells).sum(axis=1)
    low = ordered[np.arange(len(cells)), np.maximum((count - 1) // 2, 0)]
    return np.where(count >= max(cells.shape[1] // 4, 1), low, np.nan)


def spread_mesh(nodes: NDArray[np.float64], shape: tuple[int, int], side: int) -> Plane:
    """Mesh values at the cells' middles, linearly interpolated to every pixel (constant beyond the outermost)."""
    weights = []
    for n, m in zip(shape, nodes.shape, strict=True):
        place = np.clip((np.arange(n) - (side - 1) / 2) / side, 0, m - 1)
        low = np.minimum(place.astype(int), max(m - 2, 0))
        matrix = np.zeros((n, m), np.float32)
        part = (place - low).astype(np.float32)
        matrix[np.arange(n), low] = 1 - part
        matrix[np.arange(n), np.minimum(low + 1, m - 1)] += part
        weights.append(matrix)
    return np.asarray(weights[0] @ nodes.astype(np.float32) @ weights[1].T, dtype=np.float32)
