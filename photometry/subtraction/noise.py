"""The smooth noise of a frame: what its blank sky has, and what its light adds."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.image import Image

Plane = NDArray[np.float32]

MESH_PIXELS = 32


def sky_nodes(image: Image, holes: NDArray[np.bool_]) -> tuple[Plane, int]:
    """(my, mx) float32, unit^2, at the middles of square cells, and a cell's side: variance without the light of sources.

    The variance minus data / gain, its noise gone in the medians of the cells; > 0 everywhere.
    """
    ny, nx = image.shape
    my, mx = -(-ny // MESH_PIXELS), -(-nx // MESH_PIXELS)
    plain = image.variance - image.data / np.float32(image.gain)
    plain = np.where(holes | (image.mask != 0), np.nan, plain)
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
        return np.full((my, mx), max(float(np.nanmedian(image.variance)), 1e-6), np.float32), MESH_PIXELS
    middle = float(np.median(nodes[known]))
    nodes = np.where(known, nodes, middle)
    nodes = ndimage.median_filter(nodes, 3, mode="nearest")
    nodes = np.maximum(nodes, 0.05 * middle)
    return nodes.astype(np.float32), MESH_PIXELS


def _medians(cells: NDArray[np.floating]) -> NDArray[np.float64]:
    """Median of each row's finite values; NaN where fewer than a quarter are."""
    ordered = np.sort(cells, axis=1)  # NaN last
    count = np.isfinite(cells).sum(axis=1)
    low = ordered[np.arange(len(cells)), np.maximum((count - 1) // 2, 0)]
    return np.where(count >= max(cells.shape[1] // 4, 1), low, np.nan)
