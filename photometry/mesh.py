"""Smooth things of a frame, kept as values on a mesh of square cells."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.errors import BadFrameError
from photometry.loops.mesh import add_mesh

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Mesh:
    """Values at the middles of square cells of `side` pixels, nodes (my, mx): linear between, constant beyond.

    margin: how many rows and columns of cells there are beyond the frame, on each side of it.
    """

    nodes: Plane
    side: int
    margin: int = 0

    def window(self, y0: int, y1: int, x0: int, x1: int) -> Plane:
        """The values of the pixels of a rectangle of the frame."""
        out = np.zeros((y1 - y0, x1 - x0), np.float32)
        self.add(out, y0, x0, 1.0)
        return out

    def add(self, out: Plane, y0: int, x0: int, factor: float) -> None:
        """Add factor times the values to a rectangle whose first pixel is (y0, x0) of the frame."""
        beyond = self.margin * self.side
        add_mesh(out, self.nodes, self.side, y0 + beyond, x0 + beyond, factor)

    def at(self, x: NDArray[np.int64], y: NDArray[np.int64]) -> NDArray[np.float64]:
        """The values of single pixels."""
        return np.array([self.window(b, b + 1, a, a + 1)[0, 0] for a, b in zip(x.tolist(), y.tolist(), strict=True)], float)


def mended(nodes: Plane) -> Plane:
    """Nodes without a value take their nearest neighbour's; single odd ones that of those round them.

    Medians of 3 x 3 nodes, and those of what they leave (Tukey 1977, "twicing"), which gives a curved sky its tops back.
    BadFrameError where no node has a value.
    """
    known = np.isfinite(nodes)
    if not known.any():
        raise BadFrameError("too little to see: no piece of the frame has enough usable pixels for its sky")
    if not known.all():
        nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
        nodes = nodes[tuple(nearest)]
    smooth = _medians(nodes)
    return np.asarray(smooth + _medians(nodes - smooth), np.float32)


def _medians(nodes: Plane) -> Plane:
    return np.asarray(ndimage.median_filter(_continued(nodes), 3)[1:-1, 1:-1], np.float32)


def _continued(nodes: Plane) -> Plane:
    """With one row and column more on each side, to which the slopes go on."""
    for axis in (0, 1):
        width = [(1, 1) if k == axis else (0, 0) for k in (0, 1)]
        if nodes.shape[axis] > 1:
            nodes = np.pad(nodes, width, "reflect", reflect_type="odd")
        else:
            nodes = np.pad(nodes, width, "edge")
    return nodes


def extended(nodes: Plane, side: int, shape: tuple[int, int]) -> Mesh:
    """The mesh of a frame of `shape`, its slopes going on to the frame's border: with a margin of one cell.

    The last cells reach to the frame's end, so their values, measured over all of that, are first led back to the cells'
    middles.
    """
    nodes = nodes.copy()
    for axis, lines in ((0, nodes), (1, nodes.T)):
        if len(lines) > 1:
            spare = (shape[axis] - len(lines) * side) / 2  # how far the last cell's middle lies beyond its node
            lines[-1] = lines[-2] + (lines[-1] - lines[-2]) * np.float32(side / (side + spare))
    return Mesh(np.ascontiguousarray(_continued(nodes)), side, margin=1)
