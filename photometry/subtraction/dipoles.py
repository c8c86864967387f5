"""Bright stars that are not where they were: their cores are flagged, for both lobes would pass for something that changed.

A kernel follows what all stars of a neighbourhood do; one that moves by itself, or that the air moves otherwise, leaves a
bright lobe and as dark a one across its middle.  What is new or gone leaves one.
"""

from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from photometry.loops.dipoles import dipole_reaches
from photometry.mask import BAD_BITS, Bit
from photometry.psf import PsfModel
from photometry.subtraction.sweep import Swept

ROWS = 240  # looked at together
LOBE_FWHM = 1.2  # from a star's middle: within it lobes make a dipole
REACH_FWHM = 2.5  # as far as one is followed; it begins there where the core is saturated
STEP_FWHM = 0.4  # between the places where they are
RIM_FWHM = 0.5  # round the outermost, flagged too
LOBE_SIGMA = 3.5
# of what lies round the star: near 1 where it moved, near 0 where something is new or gone beside it; up to 0.8 at the real
# lensing event, between bright stars that are subtracted badly
ODDNESS = 0.85
PSF_FWHM = 1.0  # half-width of the PSF that is fitted

Stars = NDArray[np.float32]
Moved = tuple[int, int, int]


def flag_dipoles(swept: Swept, psf: PsfModel, threads: Executor) -> int:
    """Set HALO in the mask on such stars among `swept.tops`; how many there are."""
    tops = swept.tops
    bands = (tops[(tops[:, 0] >= y0) & (tops[:, 0] < y0 + ROWS)] for y0 in range(0, swept.shape[0], ROWS))
    found = list(threads.map(lambda stars: _moved(swept, psf, stars), bands))  # all, before the first is flagged
    moved = [star for stars in found for star in stars]
    for y, x, reach in moved:
        _flag(swept, y, x, reach)
    return len(moved)


def _moved(swept: Swept, psf: PsfModel, stars: Stars) -> list[Moved]:
    """y, x and reach of those among stars of some rows that are dipoles."""
    if not len(stars):
        return []
    half, most = min(int(np.ceil(PSF_FWHM * psf.fwhm)), psf.half), int(np.ceil(REACH_FWHM * psf.fwhm))
    step, inner = max(int(STEP_FWHM * psf.fwhm), 1), slice(psf.half - half, psf.half + half + 1)
    search = int(np.ceil(LOBE_FWHM * psf.fwhm / step)), most // step, step
    y0 = max(int(stars[:, 0].min()) - most - half, 0) // 2 * 2
    rows = slice(y0, int(stars[:, 0].max()) + most + half + 1)
    usable = ((swept.planes.bits(rows) & np.uint16(BAD_BITS)) == 0).view(np.uint8)
    planes = swept.planes.pixels(rows), usable, swept.light[y0 // 2 :]
    stamps = np.stack([psf.at(x, y)[inner, inner] for y, x in stars[:, :2].tolist()]).astype(np.float32)
    here = stars - np.array([y0, 0, 0, 0], np.float32)
    reaches = dipole_reaches(planes, here, _sky_variance(swept), stamps, search, (LOBE_SIGMA, ODDNESS))
    moved = np.flatnonzero(reaches)
    wide = np.ceil(reaches[moved] + RIM_FWHM * psf.fwhm)
    return [(int(y), int(x), int(r)) for (y, x), r in zip(stars[moved, :2].tolist(), wide.tolist(), strict=True)]


def _sky_variance(swept: Swept) -> float:
    """Of a typical blank pixel, as `Swept.sigma2` has it."""
    job = swept.job
    return job.factor**2 * (job.target.sky_variance + job.kernel.kernel_sum**2 * job.source.sky_variance)


def _flag(swept: Swept, y: int, x: int, reach: int) -> None:
    (ny, nx), r = swept.shape, reach
    rows, columns = slice(max(y - r, 0), min(y + r + 1, ny)), slice(max(x - r, 0), min(x + r + 1, nx))
    down, across = np.arange(rows.start, rows.stop) - y, np.arange(columns.start, columns.stop) - x
    disc = down[:, None] ** 2 + across[None, :] ** 2 <= r**2
    swept.planes.mask[rows, columns] = swept.planes.bits(rows, columns) | disc * np.uint16(Bit.HALO)
