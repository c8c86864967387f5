"""The sky that both frames' own background estimates leave: measured best in the difference, where the sources are gone."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.subtraction.noise import spread_mesh

Plane = NDArray[np.float32]

MESH_PIXELS = 64
CLIP_SIGMA = 2.5
FEWEST_SHARE = 0.2  # of a cell's pixels


def residual_sky(resid: Plane, sigma: Plane, usable: NDArray[np.bool_]) -> Plane:
    """(ny, nx) float32: clipped means of a mesh of 64 px, linearly interpolated; cells without sky take a neighbour's."""
    ny, nx = resid.shape
    nodes = np.full((max(ny // MESH_PIXELS, 1), max(nx // MESH_PIXELS, 1)), np.nan)
    for j, i in np.ndindex(*nodes.shape):
        # the last row and column of cells reach to the border
        box = (
            slice(j * MESH_PIXELS, (j + 1) * MESH_PIXELS if j + 1 < nodes.shape[0] else ny),
            slice(i * MESH_PIXELS, (i + 1) * MESH_PIXELS if i + 1 < nodes.shape[1] else nx),
        )
        values, noise = resid[box][usable[box]], sigma[box][usable[box]]
        if values.size > FEWEST_SHARE * MESH_PIXELS**2:
            nodes[j, i] = _clipped_mean(values, noise)
    known = np.isfinite(nodes)
    if not known.any():
        return np.zeros(resid.shape, np.float32)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    return spread_mesh(nodes[tuple(nearest)], (ny, nx), MESH_PIXELS)


def _clipped_mean(values: Plane, noise: Plane) -> float:
    """Mean of what lies within CLIP_SIGMA of it."""
    middle = float(np.median(values[::4]))
    for _ in range(3):
        near = np.abs(values - middle) < CLIP_SIGMA * noise
        if not near.any():
            break
        middle = float(values[near].mean())
    return middle
