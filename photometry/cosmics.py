"""Cosmic rays on one frame: light that is sharper than the frame's own stars.

For a Gaussian star the mean of two opposite neighbours is at least a fixed fraction of the pixel between them, wherever that
pixel lies on the profile; sums of stars, and anything broader, keep the inequality.  A pixel that breaks it by more than its
noise along any of four lines is no star's.  The fraction is what the frame's own bright sources show along that line, less a
wide margin: trailed stars, undersampled stars, colour filters speak for themselves.  Faint hits pass; stars are never hit.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.background import UNUSABLE
from photometry.image import Image
from photometry.loops.hits import find_bare, flag_rims, peel
from photometry.mask import Bit
from photometry.threads import start_threads

# Fewer bright sources than this cannot say what a star looks like: then nothing is flagged.
_FEWEST_STARS = 15
_CALIBRATOR_SNR = 30.0
# Up to a quarter of the sources may be cosmic rays themselves before the fraction drops, which is the safe side.
_PERCENTILE = 25.0
_MARGIN = 0.5
_LINES = ((0, 1), (1, 0), (1, 1), (1, -1))
_BAND_ROWS = 64

Places = NDArray[np.int64]


def find_cosmic_rays(image: Image, stars: NDArray[Any]) -> Places:
    """(n, 2) y, x: pixels hit by cosmic rays and their lit neighbours, in the order of their places.

    image: background-subtracted; stars: its sources, x, y, flux, flux_err and flags of `photometry.detection`.
    """
    ny, nx = image.shape
    fractions = _fractions(image, stars)
    if fractions is None:
        return np.zeros((0, 2), np.int64)

    def look(y: int) -> Places:
        rows = (max(y, 1), min(y + _BAND_ROWS, ny - 1))
        return find_bare(image.data, image.variance, image.mask, UNUSABLE, fractions, *rows)

    with start_threads() as threads:
        bare = np.concatenate(list(threads.map(look, range(0, ny, _BAND_ROWS))))
    struck = peel(image.data, image.variance, image.mask, UNUSABLE, fractions, bare)
    rims = flag_rims(image.data, image.variance, image.mask, UNUSABLE, struck)
    return np.stack(np.divmod(np.unique(rims @ np.array([nx, 1])), nx), axis=1)


def mark_cosmic_rays(image: Image, stars: NDArray[Any]) -> int:
    """Set the mask's bit in place; the number of pixels."""
    y, x = find_cosmic_rays(image, stars).T
    image.mask[y, x] |= np.uint16(Bit.COSMIC_RAY)
    return len(y)


def _fractions(image: Image, stars: NDArray[Any]) -> NDArray[np.float32] | None:
    """The least that neighbours along each line have of a star's peak; None with too few stars to tell."""
    bright = stars[stars["flux"] > _CALIBRATOR_SNR * stars["flux_err"]]
    places = (np.rint(bright[name]).astype(np.int64) for name in ("y", "x"))
    y, x = brightest_near(image.data, *places)
    ny, nx = image.shape
    inner = (y > 0) & (y < ny - 1) & (x > 0) & (x < nx - 1)
    y, x = y[inner], x[inner]
    near = [image.mask[y + b, x + a] & np.uint16(UNUSABLE) for b in (-1, 0, 1) for a in (-1, 0, 1)]
    clean = (image.data[y, x] > 0) & (np.bitwise_or.reduce(near) == 0)
    if np.count_nonzero(clean) < _FEWEST_STARS:
        return None
    y, x = y[clean], x[clean]
    means = [(image.data[y + b, x + a] + image.data[y - b, x - a]) / 2 for b, a in _LINES]
    return np.array([_MARGIN * np.percentile(mean / image.data[y, x], _PERCENTILE) for mean in means], np.float32)


def brightest_near(data: NDArray[np.float32], y: Places, x: Places) -> tuple[Places, Places]:
    """(n,) each: y, x of the brightest of the 3 x 3 pixels round a place."""
    ny, nx = data.shape
    shifts = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    near_y = np.clip(y[:, None] + shifts[:, 0], 0, ny - 1)
    near_x = np.clip(x[:, None] + shifts[:, 1], 0, nx - 1)
    best = data[near_y, near_x].argmax(axis=1)
    rows = np.arange(len(best))
    return near_y[rows, best], near_x[rows, best]
