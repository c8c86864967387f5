"""Flux and place of every star by its PSF, blends together.

Guarantees: one row for each place given, in that order, whatever lies there; where nothing can be fitted flux is NaN and
`flags` says why.  Fluxes may be negative.  The errors are of the model's photons, the sky's and the read-out's; an error of
the PSF itself is not in them.  The result does not depend on the number of threads.

The sky is held at the level that the image stands on: the background's mesh knows it from thousands of pixels, a star's
square from a hundred, which would cost a faint star a tenth of its signal-to-noise ratio, and a bright one's wings would
pass for sky.

Stars are fitted in groups (Stetson 1987, PASP 99, 191), with all other light subtracted; groups whose neighbours changed are
fitted again until nothing changes by more than SETTLED of its error.  Of stars closer than MERGED_FWHM nobody can tell which
light is whose: the first listed is fitted with the light of all.
"""

from concurrent.futures import Executor
from dataclasses import dataclass
from enum import IntFlag
from itertools import pairwise

import numpy as np
import sep
from numpy.typing import NDArray
from scipy import ndimage
from scipy.signal import correlate
from scipy.spatial import cKDTree

from photometry.image import Image
from photometry.loops import starwindow
from photometry.loops.spline import REACH, Spline
from photometry.loops.starfit import Fits, Limits, fit_groups
from photometry.loops.starlight import Scene, add_stars, guess_fluxes
from photometry.mask import WORTHLESS, Bit
from photometry.psf import PsfModel
from photometry.stars.groups import friends

Array = NDArray[np.float64]

HALF_FWHM = 1.5  # half of a star's square: beyond it are 0.5 % of what a sky-limited fit knows
LEAST_HALF = 3  # pixels
MERGED_FWHM = 0.37  # stars closer than that are one (as in ALLSTAR)
LINK_FWHM = 1.2  # stars closer than that are fitted together
AWAY_FWHM = 0.5  # that a star may move from where it was found, a pixel at least
MOST_AWAY = 5.0  # pixels
STEP_FWHM = 0.25
SETTLED = 0.02  # of its error, that a star may still change by
MOST_PASSES = 10
PIECES = 32  # that the groups, and the frame's rows, are dealt out in
ROWS_PER_STAMP = 5  # in a piece of the frame, for a stamp that reaches into two is drawn twice
_FADING = 8  # pixels of nothing round a stamp, after which what its edge does to the coefficients is gone
_SPARSE, _CELL = 3, 32  # every third pixel's variance at the most, by cells of so many of these
_SAMPLE = 1_000_000  # pixels that are looked at


class StarFlag(IntFlag):
    """Bits of `flags` of a fitted star."""

    NOT_CONVERGED = starwindow.NOT_CONVERGED  # still moving after the last step
    EDGE = starwindow.EDGE  # its square is cut by the frame's border
    MASKED = starwindow.MASKED  # pixels of its square were left out
    SATURATED = starwindow.SATURATED  # among them saturated ones at its core
    BLENDED = starwindow.BLENDED  # fitted together with others
    PLACE_HELD = starwindow.PLACE_HELD  # it ran away or has no light: flux at the given place, without errors of x and y
    NO_FIT = starwindow.NO_FIT  # too little of it is seen, or it lies on another star: flux is NaN
    UNSETTLED = 128  # its neighbours were still changing in the last pass


STAR = np.dtype(
    [(name, "f8") for name in ("x", "y", "x_err", "y_err", "flux", "flux_err")]
    + [("chi2", "f4"), ("flags", "i4"), ("group", "i4")]
)


@dataclass(frozen=True)
class StarFits:
    """stars (n,) of STAR: x, y 0-based pixels, fluxes in the image's unit as the PSF's unit sum has them, chi2 reduced,
    group: how many were fitted together.  model (ny, nx) float32: their light on the frame.
    """

    stars: NDArray[np.void]
    model: NDArray[np.float32]

    @property
    def light(self) -> Array:
        """(n, 3) flux, x, y: what the loops take."""
        return np.column_stack([self.stars[name] for name in ("flux", "x", "y")])


def fit_stars(
    image: Image, psf: PsfModel, x: Array, y: Array, threads: Executor, room: NDArray[np.float32] | None = None
) -> StarFits:
    """Fit all stars at 0-based pixels x, y of a frame without its sky.  Never raises on a valid image.

    room: a plane (ny, nx) for the model, which is overwritten; memory that is new costs more than to clear what there is.
    """
    ny, nx = image.shape
    found = np.column_stack([x, y]).astype(float)
    there = np.flatnonzero(((found > -0.5) & (found < np.array([nx, ny]) - 0.5)).all(axis=1))
    there = there[_apart(found[there], MERGED_FWHM * psf.fwhm)]
    out = np.zeros(len(found), STAR)
    for name in ("x_err", "y_err", "flux", "flux_err", "chi2"):
        out[name] = np.nan
    out["x"], out["y"], out["flags"] = found[:, 0], found[:, 1], int(StarFlag.NO_FIT)
    job = _Job(image, psf, found[there], threads, np.zeros(image.shape, np.float32) if room is None else room)
    job.run()
    fits = job.fits
    out["flux"][there], out["x"][there], out["y"][there] = fits.stars.T
    out["flux_err"][there], out["x_err"][there], out["y_err"][there] = fits.errors.T
    out["chi2"][there] = np.minimum(fits.chi2, np.finfo(np.float32).max)
    out["flags"][there], out["group"][there] = fits.flags, job.group_sizes
    return StarFits(out, job.scene.model)


def scene_of(image: Image, model: NDArray[np.float32]) -> Scene:
    """What the loops see of an image and the light that is known on it."""
    return Scene(np.ascontiguousarray(image.data), model, image.mask, int(WORTHLESS), int(Bit.SATURATED), float(image.gain))


def spline_of(psf: PsfModel, reach: int) -> Spline:
    """The PSF's B-spline coefficients, `reach` pixels and those that a value there takes on each side of the middle at
    least.
    """
    pad = max(reach + REACH - psf.half, REACH) + _FADING
    planes = np.pad(psf.planes, ((0, 0), (pad, pad), (pad, pad)))
    filtered = [ndimage.spline_filter(plane, order=5, mode="mirror") for plane in planes]
    powers = np.array([psf.powers_u, psf.powers_v], np.int64)
    return Spline(np.ascontiguousarray(filtered, np.float32), powers, *psf.shape, psf.half)


def sky_variance_at(image: Image, x: Array, y: Array) -> Array:
    """(n,) variance of a blank pixel near each place, smooth over the frame: the photons of sources do not count."""
    step = max(_SPARSE, int(np.sqrt(image.variance.size / _SAMPLE)))
    sparse = (slice(None, None, step), slice(None, None, step))
    variance = np.ascontiguousarray(image.variance[sparse])
    useless = ((image.mask[sparse] & int(WORTHLESS)) != 0) | ~np.isfinite(variance)
    side = max(8, min(_CELL, min(variance.shape) // 2))
    plane = sep.Background(variance, mask=useless, bw=side, bh=side).back(dtype=np.float32)
    rows = np.clip(np.rint(y / step).astype(np.int64), 0, plane.shape[0] - 1)
    columns = np.clip(np.rint(x / step).astype(np.int64), 0, plane.shape[1] - 1)
    low = 0.1 * float(np.median(plane))
    return np.asarray(np.maximum(plane[rows, columns], max(low, float(np.finfo(np.float32).tiny))), float)


def add_light(plane: NDArray[np.float32], psf: Spline, stars: Array, threads: Executor) -> None:
    """Add the stars (n, 3) flux, x, y to a frame, in place; a flux of NaN is none."""
    stars = stars[np.isfinite(stars).all(axis=1)]
    ordered = np.ascontiguousarray(stars[np.argsort(stars[:, 2], kind="stable")])
    rows = max(len(plane) // PIECES, ROWS_PER_STAMP * (2 * psf.half + 1))

    def piece(y0: int) -> None:
        first, last = np.searchsorted(ordered[:, 2], (y0 - psf.half - 2, y0 + rows + psf.half + 2))
        add_stars(plane, psf, ordered[first:last], y0, min(y0 + rows, len(plane)))

    list(threads.map(piece, range(0, len(plane), rows)))


class _Job:
    """The passes of one frame's fit."""

    def __init__(self, image: Image, psf: PsfModel, found: Array, threads: Executor, model: NDArray[np.float32]) -> None:
        n = len(found)
        half = int(np.clip(np.ceil(HALF_FWHM * psf.fwhm), LEAST_HALF, psf.half))
        away = float(np.clip(AWAY_FWHM * psf.fwhm, 1.0, MOST_AWAY))
        self._limits = Limits(half, away, STEP_FWHM * psf.fwhm)
        self._psf = spline_of(psf, half + int(np.ceil(away)))
        self._threads, self._found = threads, found
        self._sky = sky_variance_at(image, found[:, 0], found[:, 1])
        self._members, self._starts = friends(found[:, 0], found[:, 1], LINK_FWHM * psf.fwhm)
        self._pairs, self._coupling = _neighbours(psf, found, half)
        self._share = self._convergent_share()
        _clear(model, threads)
        self.scene = scene_of(image, model)
        stars = np.column_stack([np.zeros(n), found])
        self.fits = Fits(stars, np.full((n, 3), np.nan), np.full(n, np.nan), np.zeros(n, np.int32))

    @property
    def group_sizes(self) -> NDArray[np.int64]:
        """Of each star."""
        sizes = np.diff(self._starts)
        out = np.zeros(len(self._found), np.int64)
        out[self._members] = np.repeat(sizes, sizes)
        return out

    def run(self) -> None:
        """Fit all, then again those whose neighbours changed."""
        guess = np.empty(len(self._found))
        guess_fluxes(self.scene, self._psf, self._limits.half, self._found, guess)
        self.fits.stars[:, 0] = guess
        add_light(self.scene.model, self._psf, self.fits.stars, self._threads)
        groups = np.arange(len(self._starts) - 1)
        for _ in range(MOST_PASSES):
            before = self.fits.stars.copy()
            before[:, 0] = np.nan_to_num(before[:, 0])
            changed = self._fit(groups)
            step = self.fits.stars - before
            self.fits.stars[:] = before + self._share[:, None] * step
            self._renew_model(before, changed)
            groups = self._unsettled(step)
            if not len(groups):
                break
        self.fits.flags[self._stars_of(groups)] |= int(StarFlag.UNSETTLED)

    def _renew_model(self, before: Array, changed: NDArray[np.int64]) -> None:
        """As the stars now are: drawn anew, or what changed taken off and put on, whichever is less."""
        stars = self.fits.stars
        if 2 * len(changed) > len(stars):
            _clear(self.scene.model, self._threads)
        else:
            stars = np.concatenate([before[changed] * np.array([-1.0, 1.0, 1.0]), stars[changed]])
        add_light(self.scene.model, self._psf, stars, self._threads)

    def _stars_of(self, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """The stars of some groups, group by group."""
        parts = [self._members[self._starts[g] : self._starts[g + 1]] for g in groups.tolist()]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def _fit(self, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """Their stars, fitted with all other light taken off."""
        sizes = np.diff(self._starts)[groups]
        members, starts = self._stars_of(groups), np.r_[0, np.cumsum(sizes)]
        missing = np.isnan(self.fits.stars[:, 0])
        self.fits.stars[missing, 0] = 0
        cuts = np.unique(np.linspace(0, len(groups), PIECES + 1).astype(int)).tolist()

        def piece(g0: int, g1: int) -> None:
            own = members[starts[g0] : starts[g1]]
            fit_groups(
                self.scene, self._psf, self._limits, self._found, self._sky, own, starts[g0 : g1 + 1] - starts[g0], self.fits
            )

        list(self._threads.map(lambda pair: piece(*pair), pairwise(cuts)))
        return members

    def _convergent_share(self) -> Array:
        """Of each star's step from pass to pass, that which makes the passes converge: all of it, but where more than a
        star's own flux leaks into it from other groups, 1 / (1 + how many these are), block Jacobi's bound (Saad 2003, 4.2).
        """
        group, count = self._group_of(), len(self._starts) - 1
        pairs = group[self._pairs]
        apart = pairs[:, 0] != pairs[:, 1]
        leak = sum(np.bincount(self._pairs[apart, k], self._coupling[apart], len(group)) for k in (0, 1))
        both = np.concatenate([pairs[apart], pairs[apart][:, ::-1]])
        beside = np.bincount(np.unique(both @ np.array([count, 1])) // count, minlength=count)
        share = np.ones(count)
        crowded = group[leak > 1]
        share[crowded] = 1 / (1 + beside[crowded])
        return share[group]

    def _unsettled(self, step: Array) -> NDArray[np.int64]:
        """Groups with a star into which a neighbour's step leaks by more than SETTLED of its error, or that lacks as much
        of its own.
        """
        flux = np.nan_to_num(self.fits.stars[:, 0])
        moved = np.hypot(step[:, 1], step[:, 2])
        change = np.abs(np.nan_to_num(step[:, 0])) + np.abs(flux) * moved / self._limits.half
        leak = (1 - self._share) * change
        for one, other in ((0, 1), (1, 0)):
            np.add.at(leak, self._pairs[:, one], self._coupling * change[self._pairs[:, other]])
        loud = leak > SETTLED * self.fits.errors[:, 0]
        return np.unique(self._group_of()[loud])

    def _group_of(self) -> NDArray[np.int64]:
        """Each star's group."""
        group = np.empty(len(self._found), np.int64)
        group[self._members] = np.repeat(np.arange(len(self._starts) - 1), np.diff(self._starts))
        return group


def _apart(found: Array, least: float) -> NDArray[np.bool_]:
    """Which places to keep: the first of any that are closer than so many pixels."""
    keep = np.ones(len(found), bool)
    pairs = cKDTree(found).query_pairs(least, output_type="ndarray")
    pairs = pairs[np.lexsort(pairs.T[::-1])]
    for first, other in pairs.tolist():
        keep[other] &= not keep[first]
    return keep


def _clear(plane: NDArray[np.float32], threads: Executor) -> None:
    list(threads.map(lambda rows: rows.fill(0), np.array_split(plane, PIECES)))


def _neighbours(psf: PsfModel, found: Array, half: int) -> tuple[NDArray[np.int64], Array]:
    """Pairs of stars that see each other's light, and the share of a flux that leaks: sum(P P') / sum(P^2) at their
    distance.
    """
    ny, nx = psf.shape
    stamp = psf.at((nx - 1) / 2, (ny - 1) / 2)
    pairs = cKDTree(found).query_pairs(psf.half + half, output_type="ndarray").astype(np.int64)
    overlap = correlate(stamp, stamp[psf.half - half : psf.half + half + 1, psf.half - half : psf.half + half + 1], "full")
    middle = overlap.shape[0] // 2
    profile = np.maximum.accumulate(overlap[middle, middle:][::-1])[::-1] / overlap[middle, middle]
    apart = np.hypot(*(found[pairs[:, 0]] - found[pairs[:, 1]]).T)
    return pairs, np.interp(apart, np.arange(len(profile)), profile)
