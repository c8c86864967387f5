"""The PSF that a frame's photometry is done with, and how good it is.

The subtraction's model (`photometry.psf.build_psf`) is the start.  It is corrected by what is left of the PSF stars
after all stars were fitted with it and their neighbours taken off: no star is resampled but for that remainder, so that
neither noise in its place nor the interpolation broadens the model.
"""

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from photometry.errors import SubtractionFailedError
from photometry.image import Image
from photometry.loops.starlight import cut_stars
from photometry.mask import WORTHLESS
from photometry.psf import BRIGHT_SIGMA, PsfModel, build_psf, core_covariance, fit_stamps
from photometry.psf_stars import FWHM_PER_SIGMA, brightest_of_each
from photometry.smooth_map import fit_map
from photometry.stars.fit import StarFits, StarFlag, fit_stars, scene_of, sky_variance_at, spline_of

Array = NDArray[np.float64]

ROUNDS = 3
MOST_STARS = 300
MOST_TRIED = 3000  # the brightest, from which these are chosen
CELLS = 8  # along each side, over which the PSF stars are spread
UNFIT = StarFlag.NOT_CONVERGED | StarFlag.EDGE | StarFlag.MASKED | StarFlag.PLACE_HELD | StarFlag.NO_FIT
CLIP_SIGMA = 4.0
CLIPS = 3
FIRST_CLIP, CLIP_SHARE = 0.3, 0.02  # of the star's light, that the model may be off by and the pixel still count
MODEL_SHARE = 0.003  # of a star's peak: what the model may be off by from star to star
WHOLE = 0.7  # of a star's pixels that must count for any to
CROWDED = 0.3  # of a star's light: more of its neighbours' in its square, and it is no PSF star
_GRID = 5


@dataclass(frozen=True)
class PsfQuality:
    """stars: measured on; chi2: their median reduced chi^2; residual: rms of what
    they leave in their cores beyond the noise, over their peaks;
    fwhm: pixels, in the frame's middle; fwhm_range: smallest and largest over the frame; ellipticity: 1 - b/a in the middle.
    """

    stars: int
    chi2: float
    residual: float
    fwhm: float
    fwhm_range: tuple[float, float]
    ellipticity: float


class _View:
    """An image as `build_psf` looks at it."""

    def __init__(self, image: Image) -> None:
        self._image = image
        self.shape, self.gain = image.shape, image.gain
        ny, nx = image.shape
        y, x = (grid.ravel() for grid in np.meshgrid(np.linspace(0, ny - 1, 9), np.linspace(0, nx - 1, 9), indexing="ij"))
        self.sky_variance = float(np.median(sky_variance_at(image, x, y)))

    def cut(self, x: NDArray[np.int64], y: NDArray[np.int64], half: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Squares; beyond the border all is flagged."""
        ny, nx = self.shape
        around = np.arange(-half, half + 1)
        rows, columns = (y[:, None] + around)[:, :, None], (x[:, None] + around)[:, None, :]
        inside = (rows >= 0) & (rows < ny) & (columns >= 0) & (columns < nx)
        place = np.clip(rows, 0, ny - 1), np.clip(columns, 0, nx - 1)
        data = self._image.data[place]
        bad = ~inside | ((self._image.mask[place] & int(WORTHLESS)) != 0) | ~np.isfinite(data)
        return np.where(bad, np.float32(0), data), bad


def measure_psf(
    image: Image, stars: NDArray[np.void], threads: Executor, room: NDArray[np.float32] | None = None
) -> tuple[PsfModel, PsfQuality]:
    """The PSF of a frame without its sky, from detected stars (structured: x, y, flux, peak; 0-based pixels).

    room: as `fit_stars` has it.  SubtractionFailedError without a star that it can be measured on.
    """
    psf = build_psf(_View(image), stars)
    room = np.empty(image.shape, np.float32) if room is None else room
    x, y = stars["x"].astype(float), stars["y"].astype(float)
    tried = _near(x, y, np.argsort(-stars["flux"], kind="stable")[:MOST_TRIED], psf.half)
    x, y = x[tried], y[tried]
    fits = fit_stars(image, psf, x, y, threads, room)
    chosen = _choose(image, psf, fits)
    if not len(chosen):
        raise SubtractionFailedError(f"none of {len(stars)} stars is bright, whole and alone enough to measure the PSF on")
    near = _near(x, y, chosen, 3 * psf.half)
    chosen = np.searchsorted(near, chosen)
    for _ in range(ROUNDS):
        fits = fit_stars(image, psf, x[near], y[near], threads, room)
        psf = _corrected(image, psf, fits, chosen)
    fits = fit_stars(image, psf, x[near], y[near], threads, room)
    return psf, _judge(image, psf, fits, chosen)


def _choose(image: Image, psf: PsfModel, fits: StarFits) -> NDArray[np.int64]:
    """Bright whole stars that no other is fitted with, spread over the frame."""
    ny, nx = image.shape
    stars = fits.stars
    peak = stars["flux"] * float(psf.at(nx / 2, ny / 2).max())
    bright = peak > BRIGHT_SIGMA * np.sqrt(sky_variance_at(image, stars["x"], stars["y"]))
    margin = psf.half + 2
    inside = (stars["x"] > margin) & (stars["x"] < nx - margin) & (stars["y"] > margin) & (stars["y"] < ny - margin)
    good = np.flatnonzero(bright & inside & ((stars["flags"] & int(UNFIT)) == 0) & (stars["group"] == 1))
    if not len(good):
        good = np.flatnonzero(bright & inside & ((stars["flags"] & int(UNFIT)) == 0))
    good = good[_alone(psf, fits, good)]
    cell = (CELLS * stars["x"][good] / nx).astype(np.int64) * CELLS + (CELLS * stars["y"][good] / ny).astype(np.int64)
    chosen = brightest_of_each(cell, stars["flux"][good], -(-MOST_STARS // CELLS**2))
    return np.sort(good[chosen])


def _alone(psf: PsfModel, fits: StarFits, which: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the neighbours' light within a FWHM is a small share of the star's."""
    x, y, flux = (fits.stars[name] for name in ("x", "y", "flux"))
    seen = np.isfinite(flux)
    tree = cKDTree(np.column_stack([x[seen], y[seen]]))
    near = tree.query_ball_point(np.column_stack([x[which], y[which]]), 2.5 * psf.fwhm)
    light = np.array([flux[seen][others].clip(0).sum() for others in near])
    return np.asarray(light - flux[which] < CROWDED * flux[which])


def _near(x: Array, y: Array, chosen: NDArray[np.int64], reach: float) -> NDArray[np.int64]:
    """The chosen stars and all that shine on them, in order."""
    tree = cKDTree(np.column_stack([x, y]))
    found = tree.query_ball_point(np.column_stack([x[chosen], y[chosen]]), reach)
    return np.unique(np.concatenate([np.asarray(part, np.int64) for part in found]))


def _remainders(
    image: Image, psf: PsfModel, fits: StarFits, chosen: NDArray[np.int64]
) -> tuple[Array, NDArray[np.bool_], Array]:
    """(n, k, k) what all fits leave round each star, which pixels count, and the star's own light there."""
    light = np.ascontiguousarray(fits.light[chosen])
    size = 2 * psf.half + 1
    spline = spline_of(psf, psf.half)
    rest, useless = np.empty((len(light), size, size), np.float32), np.empty((len(light), size, size), np.uint8)
    none = light * np.array([np.nan, 1.0, 1.0])
    scene = scene_of(image, fits.model)
    cut_stars(scene, spline, none, rest, useless)
    own, _ = np.empty_like(rest), np.empty_like(useless)
    cut_stars(scene, spline, light, own, np.empty_like(useless))
    return rest.astype(float), useless == 0, own.astype(float) - rest


def _corrected(image: Image, psf: PsfModel, fits: StarFits, chosen: NDArray[np.int64]) -> PsfModel:
    """The model with the stars' remainders, moved to the middle of the stamp, added to its planes.

    Pixels are clipped against the model as it is corrected, not as it was: what all stars leave is its fault, not theirs.
    """
    stars = fits.stars[chosen]
    rest, good, own = _remainders(image, psf, fits, chosen)
    x, y, flux = stars["x"], stars["y"], stars["flux"][:, None, None]
    sky = sky_variance_at(image, x, y)[:, None, None]
    noise = np.sqrt(sky + own.clip(0) / image.gain)
    light = own.clip(0) + 0.03 * own.max(axis=(1, 2))[:, None, None]
    rest -= _pedestal(image, psf, stars, rest, good, sky)
    shares = np.where(good, rest / flux, 0.0)
    shifts = zip(shares, np.rint(x) - x, np.rint(y) - y, strict=True)
    moved = np.stack([ndimage.shift(share, (b, a), order=5, mode="nearest") for share, a, b in shifts])
    # one over the variance of the shares; the last term, so that no single star rules
    level = flux**2 / (noise**2 + (MODEL_SHARE * flux * psf.planes[0].max()) ** 2)
    believed = good & (np.abs(rest) < CLIP_SIGMA * noise + FIRST_CLIP * light)
    corrected = psf
    for _ in range(CLIPS):
        corrected = fit_stamps(psf, x, y, moved, believed * level)
        left = rest - flux * (corrected.at(x, y) - psf.at(x, y))
        believed = good & (np.abs(left) < CLIP_SIGMA * noise + CLIP_SHARE * light)
        believed &= believed.mean(axis=(1, 2))[:, None, None] > WHOLE
    return corrected


def _pedestal(
    image: Image, psf: PsfModel, stars: NDArray[np.void], rest: Array, good: NDArray[np.bool_], sky: Array
) -> float:
    """The level that all stars stand on, faint ones that nobody found: of the outer stamps' light what does not grow
    with the star's.

    It would be a wing of the model, and the broader the fainter the stars.
    """
    around = np.arange(-psf.half, psf.half + 1)
    ring = good & (np.hypot(around[:, None], around) > psf.half / 2)
    count = ring.sum(axis=(1, 2))
    seen = count > 0
    if not seen.any():
        return 0.0
    level = np.nanmedian(np.where(ring, rest, np.nan)[seen], axis=(1, 2))  # of neighbours, the fewest pixels
    error = 1.25 * np.sqrt(sky[seen, 0, 0] / count[seen])
    x, y, flux = (stars[name][seen] for name in ("x", "y", "flux"))
    found, _ = fit_map(x, y, level, error, image.shape, 0, flux / stars["flux"].max())
    return float(np.nan_to_num(found.middle[0]))


def _judge(image: Image, psf: PsfModel, fits: StarFits, chosen: NDArray[np.int64]) -> PsfQuality:
    stars = fits.stars[chosen]
    rest, good, own = _remainders(image, psf, fits, chosen)
    core = good & (own > 0.1 * own.max(axis=(1, 2))[:, None, None])
    sky = sky_variance_at(image, stars["x"], stars["y"])[:, None, None]
    excess = np.where(core, rest**2 - sky - own.clip(0) / image.gain, 0.0).sum()
    peaks = np.where(core, own.max(axis=(1, 2))[:, None, None], 0.0)
    ny, nx = image.shape
    places = [(x, y) for y in np.linspace(0, ny - 1, _GRID) for x in np.linspace(0, nx - 1, _GRID)]
    widths = [FWHM_PER_SIGMA * np.linalg.det(psf.covariance(x, y)) ** 0.25 for x, y in places]
    small, large = np.linalg.eigvalsh(core_covariance(psf.at((nx - 1) / 2, (ny - 1) / 2)))
    return PsfQuality(
        stars=len(chosen),
        chi2=float(np.median(stars["chi2"])),
        residual=float(np.sqrt(max(excess, 0.0) / (peaks**2).sum())),
        fwhm=psf.fwhm,
        fwhm_range=(float(min(widths)), float(max(widths))),
        ellipticity=float(1 - np.sqrt(small / large)),
    )
