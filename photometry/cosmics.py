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
from photometry.grow import grow
from photometry.image import Image
from photometry.mask import Bit

# Fewer bright sources than this cannot say what a star looks like: then nothing is flagged.
_FEWEST_STARS = 15
_CALIBRATOR_SNR = 30.0
# Up to a quarter of the sources may be cosmic rays themselves before the fraction drops, which is the safe side.
_PERCENTILE = 25.0
_MARGIN = 0.5
_PIXEL_SIGMA = 8.0
_EXCESS_SIGMA = 6.0
_RIM_SIGMA = 3.0
_ROUNDS = 3
_LINES = ((0, 1), (1, 0), (1, 1), (1, -1))
_MOST_CANDIDATES = 2_000_000

Places = tuple[NDArray[np.int64], NDArray[np.int64]]


def find_cosmic_rays(image: Image, stars: NDArray[Any]) -> NDArray[np.bool_]:
    """(ny, nx): pixels hit by cosmic rays and their lit neighbours.

    image: background-subtracted; stars: its sources, x, y, flux, flux_err and flags of `photometry.detection`.
    """
    hit = np.zeros(image.shape, np.bool_)
    closed = (image.mask & UNUSABLE) != 0
    fractions = _fractions(image.data, closed, stars)
    sigma = np.sqrt(image.variance)
    lit = (image.data > _PIXEL_SIGMA * sigma) & ~closed
    lit[[0, -1], :] = lit[:, [0, -1]] = False
    y, x = np.nonzero(lit)
    if fractions is None or not 0 < len(y) <= _MOST_CANDIDATES:
        return hit
    data = image.data.copy()
    for _ in range(_ROUNDS):
        sharp = _too_sharp(data, image.variance, closed, (y, x), fractions)
        if not sharp.any():
            break
        struck = (y[sharp], x[sharp])
        hit[struck] = True
        # What was hit no longer shields its neighbours: a hit of several pixels is peeled from its rim.
        data[struck] = np.minimum.reduce([(first + second) / 2 for first, second in _pairs(data, struck)])
        y, x = y[~sharp], x[~sharp]
    if hit.any():
        hit = grow(hit, 1) & (image.data > _RIM_SIGMA * sigma) & ~closed
    return np.asarray(hit, np.bool_)


def mark_cosmic_rays(image: Image, stars: NDArray[Any]) -> int:
    """Set the mask's bit in place; the number of pixels."""
    hit = find_cosmic_rays(image, stars)
    image.mask[hit] |= np.uint16(Bit.COSMIC_RAY)
    return int(np.count_nonzero(hit))


def _fractions(data: NDArray[np.float32], closed: NDArray[np.bool_], stars: NDArray[Any]) -> list[float] | None:
    """The least that neighbours along each line have of a star's peak; None with too few stars to tell."""
    bright = stars[stars["flux"] > _CALIBRATOR_SNR * stars["flux_err"]]
    y, x = _peaks(data, bright)
    ny, nx = data.shape
    inner = (y > 0) & (y < ny - 1) & (x > 0) & (x < nx - 1)
    y, x = y[inner], x[inner]
    clean = (data[y, x] > 0) & ~closed[y, x]
    for first, second in _pairs(closed, (y, x)):
        clean &= ~(first | second)
    if np.count_nonzero(clean) < _FEWEST_STARS:
        return None
    peaks = (y[clean], x[clean])
    return [
        _MARGIN * float(np.percentile((first + second) / 2 / data[peaks], _PERCENTILE))
        for first, second in _pairs(data, peaks)
    ]


def _peaks(data: NDArray[np.float32], stars: NDArray[Any]) -> Places:
    """The brightest pixel within one of each centre."""
    ny, nx = data.shape
    y, x = np.rint(stars["y"]).astype(np.int64), np.rint(stars["x"]).astype(np.int64)
    shifts = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
    near_y = np.clip(y[:, None] + shifts[:, 0], 0, ny - 1)
    near_x = np.clip(x[:, None] + shifts[:, 1], 0, nx - 1)
    best = data[near_y, near_x].argmax(axis=1)
    rows = np.arange(len(best))
    return near_y[rows, best], near_x[rows, best]


def _pairs(plane: NDArray[Any], at: Places) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """The two opposite neighbours along each line."""
    y, x = at
    return [(plane[y + dy, x + dx], plane[y - dy, x - dx]) for dy, dx in _LINES]


def _too_sharp(
    data: NDArray[np.float32],
    variance: NDArray[np.float32],
    closed: NDArray[np.bool_],
    at: Places,
    fractions: list[float],
) -> NDArray[np.bool_]:
    """Which pixels stand above what their neighbours along any line allow."""
    sharp = np.zeros(len(at[0]), np.bool_)
    value, noise = data[at], variance[at]
    values, noises, masked = (_pairs(plane, at) for plane in (data, variance, closed))
    for line, fraction in enumerate(fractions):
        if fraction <= 0:
            continue
        allowed = (values[line][0] + values[line][1]) / (2 * fraction)
        error = np.sqrt(noise + (noises[line][0] + noises[line][1]) / (2 * fraction) ** 2)
        sharp |= (value - allowed > _EXCESS_SIGMA * error) & ~masked[line][0] & ~masked[line][1]
    return sharp
