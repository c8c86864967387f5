"""Fluxes in a small circle, taken to the stars' total by the growth curve; and the PSF's tie to the same total.

The growth curve is measured on bright stars, each with its neighbours' light taken off by their PSFs, from circle to circle:
    total / F(r_0) = prod_i F(r_i+1) / F(r_i),    each ratio a smooth map over the frame of the order that the stars ask for,
so that the core, which changes over the frame and is measured well, has its map, and the far wing, which is not, its mean
(Stetson 1990, PASP 102, 932).  It ends where it is flat: what lies beyond belongs to no star's total, and to the zero point.
"""

from dataclasses import dataclass

import numpy as np
import sep
from numpy.typing import NDArray

from photometry.image import Image
from photometry.loops.starlight import cut_stars
from photometry.psf import PsfModel
from photometry.smooth_map import SmoothMap, fit_map
from photometry.stars.fit import StarFits, StarFlag, scene_of, sky_variance_at, spline_of

Array = NDArray[np.float64]

RADII_FWHM = (0.6, 0.7, 0.85, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0)
SMALLEST_RADIUS, LARGEST_RADIUS = 2.0, 60.0  # pixels: below, the place of the pixels' borders counts
MOST_STARS = 200
FEWEST_STARS = 3
FLAT = 5e-4  # of the flux: a step that is smaller, or smaller than its error, is none
RISING = 0.2  # of the flux, in the last RISING_STEPS: a curve that rises so much is not of its stars alone
RISING_STEPS = 3
BRIGHT_SNR = 50.0
SKY_ERROR = 0.02  # of a pixel's noise: how well the level under a star is known
_AT_A_TIME = 8192
_UNFIT = StarFlag.NOT_CONVERGED | StarFlag.EDGE | StarFlag.MASKED | StarFlag.PLACE_HELD | StarFlag.NO_FIT | StarFlag.BLENDED


@dataclass(frozen=True)
class GrowthCurve:
    """radii (n,) pixels, the last one where the curve is flat; steps (n - 1): maps of ln F(r_i+1) / F(r_i); best: index
    of the circle with the most signal to noise for a star of the frame's median flux; psf_total: map of ln total / PSF
    flux; stars: measured on.
    """

    radii: Array
    steps: tuple[SmoothMap, ...]
    best: int
    psf_total: SmoothMap
    stars: int

    @property
    def shares(self) -> Array:
        """(n,): of the total within each radius, mean over the frame."""
        steps = np.array([step.middle[0] for step in self.steps])
        return np.asarray(np.exp(-np.append(np.cumsum(steps[::-1])[::-1], 0.0)))

    @property
    def error(self) -> float:
        """Of the mean correction, relative."""
        return float(np.sqrt(sum(step.middle[1] ** 2 for step in self.steps[self.best :])))

    def correction(self, x: Array, y: Array) -> Array:
        """Total over the flux within the best radius, at 0-based pixels."""
        return np.asarray(np.exp(sum((step.at(x, y) for step in self.steps[self.best :]), np.zeros(len(x)))))

    def psf_correction(self, x: Array, y: Array) -> Array:
        """Total over the PSF flux."""
        return np.asarray(np.exp(self.psf_total.at(x, y)))


def measure_growth(image: Image, psf: PsfModel, fits: StarFits) -> GrowthCurve | None:
    """The growth curve of a frame without its sky, from its fitted stars.

    None with fewer than FEWEST_STARS bright whole ones, and where it ends far from flat: so much light is of stars that
    nobody found that there is no total.
    """
    stars = _bright(fits)
    if len(stars) < FEWEST_STARS:
        return None
    x, y, flux = stars["x"], stars["y"], stars["flux"]
    sky = sky_variance_at(image, x, y)
    radii = np.unique(np.clip(np.array(RADII_FWHM) * psf.fwhm, SMALLEST_RADIUS, LARGEST_RADIUS))
    sums = np.stack([_sums(image, fits.model, psf, stars, radius) for radius in radii], axis=1)
    steps: list[SmoothMap] = []
    for i in range(len(radii) - 1):
        ring = np.pi * (radii[i + 1] ** 2 - radii[i] ** 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            growth = np.log(sums[:, i + 1] / sums[:, i])
            photons = ring * sky + np.abs(sums[:, i + 1] - sums[:, i]) / image.gain
            error = np.sqrt(photons + (SKY_ERROR * ring) ** 2 * sky) / sums[:, i]
        good = np.isfinite(growth + error) & (sums[:, i] > 0)
        level = ring / sums[good, i]  # light that does not grow with the star's: faint stars that nobody found
        steps.append(fit_map(x[good], y[good], growth[good], error[good], image.shape, _order(i, radii, psf), level)[0])
    flat = _flat_from(steps)
    if not sum(step.middle[0] for step in steps[:flat][-RISING_STEPS:]) < RISING:
        return None
    curve = GrowthCurve(radii[: flat + 1], tuple(steps[:flat]), 0, steps[0], len(stars))
    best = _best(curve, float(np.median(fits.stars["flux"][fits.stars["flux"] > 0])), float(np.median(sky)), image.gain)
    curve = GrowthCurve(curve.radii, curve.steps, best, steps[0], len(stars))
    with np.errstate(invalid="ignore", divide="ignore"):
        tie = np.log(sums[:, best] * curve.correction(x, y) / flux)
        error = np.hypot(np.sqrt(np.pi * radii[best] ** 2 * sky + flux / image.gain) / flux, 1e-4)
    good = np.isfinite(tie + error)
    psf_total, _ = fit_map(x[good], y[good], tie[good], error[good], image.shape)
    return GrowthCurve(curve.radii, curve.steps, best, psf_total, len(stars))


def aperture_fluxes(
    image: Image, psf: PsfModel, fits: StarFits, growth: GrowthCurve
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """(flux, its error, whether pixels were missing) of every fitted star, total: within the best radius, neighbours
    taken off, corrected.  The error is of the star's photons, the sky's and the read-out's; growth.error is common to all.
    """
    stars = fits.stars
    x, y = stars["x"], stars["y"]
    radius = float(growth.radii[growth.best])
    flux, cut = _sums_and_cuts(image, fits.model, psf, stars, radius)
    variance = np.pi * radius**2 * sky_variance_at(image, x, y) + np.maximum(flux, 0) / image.gain
    correction = growth.correction(x, y)
    return flux * correction, np.sqrt(variance) * correction, cut


def _bright(fits: StarFits) -> NDArray[np.void]:
    """The brightest stars that were fitted alone and whole."""
    stars = fits.stars
    with np.errstate(invalid="ignore"):
        good = ((stars["flags"] & int(_UNFIT)) == 0) & (stars["flux"] > BRIGHT_SNR * stars["flux_err"])
    chosen = np.flatnonzero(good)
    return np.asarray(stars[chosen[np.argsort(-stars["flux"][chosen], kind="stable")][:MOST_STARS]])


def _sums(image: Image, model: NDArray[np.float32], psf: PsfModel, stars: NDArray[np.void], radius: float) -> Array:
    """Within a circle; NaN where pixels are missing."""
    flux, cut = _sums_and_cuts(image, model, psf, stars, radius)
    return np.where(cut, np.nan, flux)


def _sums_and_cuts(
    image: Image, model: NDArray[np.float32], psf: PsfModel, stars: NDArray[np.void], radius: float
) -> tuple[Array, NDArray[np.bool_]]:
    """Each star alone, on a tile of its own: sep sums the tiles, one below the other, as one image."""
    half = int(np.ceil(radius)) + 1
    size = 2 * half + 1
    scene, spline = scene_of(image, model), spline_of(psf, psf.half)
    flux, cut = np.full(len(stars), np.nan), np.ones(len(stars), bool)
    for first in range(0, len(stars), _AT_A_TIME):
        part = stars[first : first + _AT_A_TIME]
        light = np.column_stack([part["flux"], part["x"], part["y"]])
        tiles = np.empty((len(part), size, size), np.float32)
        useless = np.empty((len(part), size, size), np.uint8)
        cut_stars(scene, spline, light, tiles, useless)
        x = light[:, 1] - np.rint(light[:, 1]) + half
        y = light[:, 2] - np.rint(light[:, 2]) + half + size * np.arange(len(part))
        mask = useless.reshape(-1, size) != 0
        sums, _, flags = sep.sum_circle(tiles.reshape(-1, size), x, y, radius, mask=mask, subpix=0)
        flux[first : first + len(part)] = sums
        cut[first : first + len(part)] = (flags & (sep.APER_HASMASKED | sep.APER_ALLMASKED | sep.APER_NONPOSITIVE)) != 0
    return flux, cut


def _order(i: int, radii: Array, psf: PsfModel) -> int:
    """Of a step's map: within the core all that the stars ask for, in the wing a plane."""
    return 2 if radii[i + 1] <= 2.5 * psf.fwhm else 1


def _flat_from(steps: list[SmoothMap]) -> int:
    """How many steps the curve has: up to the last of any two in a row that are not flat."""
    for i in range(len(steps) - 1):
        if all(_is_flat(step) for step in steps[i : i + 2]):
            return max(i, 1)
    return len(steps)


def _is_flat(step: SmoothMap) -> bool:
    value, error = step.middle
    return not value > max(FLAT, error)


def _best(curve: GrowthCurve, flux: float, sky: float, gain: float) -> int:
    """The circle that a star of that flux is seen best in."""
    light = flux * curve.shares
    return int(np.argmax((light / np.sqrt(np.pi * curve.radii**2 * sky + light / gain))[:-1]))
