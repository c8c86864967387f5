"""What to flag on a difference: both frames' own bits, what their fillings spoil, halos and borders."""

import numpy as np
from numpy.typing import NDArray

from photometry.grow import grow
from photometry.mask import BAD_BITS, TEMPLATE_SHIFT, Bit
from photometry.subtraction.convolve import convolve_local
from photometry.subtraction.halo import halos
from photometry.subtraction.masks import Filled, grown_holes
from photometry.subtraction.score import At, Optics
from photometry.subtraction.sides import Task

Plane = NDArray[np.float32]

CORE_SIGMA = 50.0  # of a pixel: a saturated one with less of a star's light is a bad column's or was bled into
BRIGHT_SIGMA = 500.0  # of a pixel: light whose wing beyond the kernel may be seen
TELLING_SIGMA = 0.15  # an error of that size in a pixel is flagged: it is coherent, and one sigma in a score
RIM_PIXELS = 2  # of the border, whose light says how bright it may be beyond


def flags(task: Task, optics: Optics, matched: Plane, resid: Plane, sigma: Plane) -> NDArray[np.uint16]:
    """Bits of both frames, what their fillings spoil through the kernels, halos, and the borders."""
    mask = np.zeros(resid.shape, np.uint16)
    for side, kernel, reach in (
        (task.target, optics.target_kernel, task.roles.broadening),
        (task.source, optics.source_kernel, task.roles.sigma),
    ):
        bits = (side.image.mask & np.uint16(0xFF)) | (side.filled.holes * np.uint16(Bit.BAD) * (side.image.mask == 0))
        bits |= grown_holes(side.image, 1) * np.uint16(Bit.SATURATED)
        if kernel is not None:
            bits |= _footprint(side.filled, kernel, optics.kernel_half, sigma) * np.uint16(Bit.FILLED)
            bits |= _edges(bits, int(np.ceil(3 * reach))) * np.uint16(Bit.EDGE)
        mask |= bits << np.uint16(TEMPLATE_SHIFT if side is task.template else 0)
    saturated = ((mask | (mask >> np.uint16(TEMPLATE_SHIFT))) & np.uint16(Bit.SATURATED)) != 0
    core = saturated & (matched > CORE_SIGMA * sigma)
    seeds = ((core, 0.0), (~saturated & (matched > BRIGHT_SIGMA * sigma), optics.kernel_half - 3.0))
    bad = (mask & np.uint16(BAD_BITS)) != 0
    for seed, nearest in seeds:
        mask |= halos(resid, sigma, seed, bad, nearest) * np.uint16(Bit.HALO)
    return mask


def _edges(bits: NDArray[np.uint16], margin: int) -> NDArray[np.bool_]:
    """Where a convolution reaches beyond the frame, or beyond what was exposed of it."""
    out = np.ones(bits.shape, bool)
    out[margin:-margin, margin:-margin] = False
    edge = (bits & np.uint16(Bit.EDGE)) != 0
    if edge.any():
        out |= grow(edge, margin)
    return out


def _footprint(filled: Filled, kernel_at: At, half: int, sigma: Plane) -> NDArray[np.bool_]:
    """The holes, and where what was filled or lies beyond the border shows in the difference by TELLING_SIGMA."""
    doubt = filled.doubt.copy()
    # beyond the border the kernel sees the mirror image: as wrong as a star that the border cuts is bright there
    for rim in (np.s_[:RIM_PIXELS], np.s_[-RIM_PIXELS:], np.s_[:, :RIM_PIXELS], np.s_[:, -RIM_PIXELS:]):
        doubt[rim] = np.maximum(doubt[rim], np.abs(filled.data[rim]))
    error = convolve_local(doubt, lambda x, y: np.abs(kernel_at(x, y)), half)
    return np.asarray(filled.holes | (error > np.float32(TELLING_SIGMA) * sigma))
