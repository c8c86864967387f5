"""How likely it is that a star is in the middle of each pixel: the light under a small Gaussian over that of blank sky.

Irwin 1985, MNRAS 214, 575, for a matched filter on a frame.
"""

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photometry.background import UNUSABLE, Background
from photometry.image import Image
from photometry.loops.light import flag_light, some_of
from photometry.loops.mesh import measure_cells
from photometry.loops.smooth import clear_flagged, smooth_rows
from photometry.mask import Bit
from photometry.mesh import Mesh, mended

# Saturated cores still belong to a source; the other unusable pixels do not.
HIDDEN = UNUSABLE & ~int(Bit.SATURATED)

_REACH_SIGMAS = 3.0  # of the Gaussian
_STRUCTURE_PIXELS = 32
_STRUCTURE_SIGMA = 0.1  # of a pixel: less is the light of faint stars

Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """image: without its sky; sigma_pixels: of the Gaussian; structure: what is larger than any star, for finding only.

    quiet: the inverse of the standard deviation of a blank pixel that the score's noise stands for.
    """

    image: Image
    sigma_pixels: float
    structure: Mesh
    quiet: Mesh

    def rows(self, y0: int, y1: int) -> Plane:
        """(y1 - y0, nx) of these rows of the frame, in sigmas of blank sky; hidden pixels count as blank."""
        ny, nx = self.image.shape
        weights = self.weights()
        a0, a1 = max(y0 - weights.size + 1, 0), min(y1 + weights.size - 1, ny)
        data = self.image.data[a0:a1].copy()
        self.structure.add(data, a0, 0, -1.0)
        clear_flagged(data, self.image.mask[a0:a1], HIDDEN)
        out = np.empty((y1 - y0, nx), np.float32)
        smooth_rows(data, weights, y0 - a0, out)
        out *= self.quiet.window(y0, y1, 0, nx)
        return out

    def weights(self) -> Plane:
        """Along one axis, from the middle outwards: of unit noise."""
        far = np.arange(int(np.ceil(_REACH_SIGMAS * self.sigma_pixels)) + 1)
        weights = np.exp(-0.5 * (far / self.sigma_pixels) ** 2)
        return np.asarray(weights / np.sqrt(2 * np.sum(weights**2) - weights[0] ** 2), np.float32)


def structure_of(image: Image, threads: Executor) -> Mesh:
    """What is larger than any star: dust, an unflattened field, a galaxy's outskirts.

    Above the threshold each would be full of tops.  What is within the noise of a mesh that stars lie on is left alone.
    """
    ny, nx = image.shape
    side = max(8, min(_STRUCTURE_PIXELS, min(ny, nx) // 2))
    count = max(ny // side, 1)

    def look(j: int) -> tuple[Plane, Plane]:
        rows = slice(j * side, ny if j == count - 1 else (j + 1) * side)
        bits = np.empty(image.data[rows].shape, np.uint8)
        some_of(image.mask[rows], UNUSABLE, bits)
        level, sigma = (np.empty(max(nx // side, 1), np.float32) for _ in range(2))
        measure_cells(image.data[rows], bits, side, level, sigma)
        return level, sigma

    level, sigma = (np.stack(part) for part in zip(*threads.map(look, range(count)), strict=True))
    if not np.isfinite(level).any():
        return Mesh(np.zeros_like(level), side)
    level, noise = mended(level), np.float32(_STRUCTURE_SIGMA) * mended(sigma)
    return Mesh(np.asarray(np.sign(level) * np.maximum(np.abs(level) - noise, 0), np.float32), side)


def widths_of(score: Score, sky: Background, y0: int, y1: int) -> Plane:
    """The score's standard deviation in the blank sky of these rows, in each cell; 1 where noise is as the mesh has it.

    More where neighbouring pixels are not independent, or where the sky is full of stars that are not seen.
    """
    nx, side = score.image.shape[1], sky.rms.side
    bits = np.empty((y1 - y0, nx), np.uint8)
    some_of(score.image.mask[y0:y1], UNUSABLE, bits)
    row = min(y0 // side, len(sky.rms.nodes) - 1)
    flag_light(score.image.data[y0:y1], bits, sky.rms.nodes[row], side)
    level, sigma = (np.empty(max(nx // side, 1), np.float32) for _ in range(2))
    measure_cells(score.rows(y0, y1), bits, side, level, sigma)
    return sigma[np.isfinite(sigma)]
