"""A third photometry of the stars: what the template has of each, on the science frame's scale, plus what the difference
has.

    F = m f_t + r f_d

f_t is the star's PSF flux on the template, f_d the forced flux at its place in the difference.  A PSF flux is that of a
core, and no two frames keep the same share of a star in it: their stamps, and the kernel's, are cut at other radii, and the
wings beyond are known to half a percent at best.  So the totals of the frames are not compared.  m is the science PSF flux
of a template star of unit PSF flux as the kernel K has taken it to the science frame, r that of a forced flux of one:

    m = s <Q, R> / <Q, Q>,    r = <P, P> / <P, Q>,

Q and R the PSFs of the science frame and of the template as they are in the difference, s its flux scale, P its PSF.  F is
in the unit of the science frame's PSF flux, and its growth curve takes both to the total.
"""

from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from photometry.polynomials import mutual_pairs
from photometry.psf import PsfModel
from photometry.registration import Transform
from photometry.stars.agreement import LIMIT, Agreement, agreement
from photometry.stars.brightness import Brightness
from photometry.stars.fit import HALF_FWHM
from photometry.stars.forced import difference_fluxes, over_frame
from photometry.subtraction.difference import Difference
from photometry.subtraction.fourier import convolved

Array = NDArray[np.float64]

MATCH_PIXELS = 1.0
ALONE_FWHM = 5.0  # a neighbour that is farther away counts for nothing
ALONE_SHARE = 0.05  # of a star's light, that all its neighbours together may have


@dataclass(frozen=True)
class ThreeWay:
    """pairs: how any two photometries of the isolated stars agree, by the names of both; agrees: whether all do; reason: the
    first pair that does not, and why.
    """

    pairs: dict[str, Agreement]
    agrees: bool
    reason: str


def summed_fluxes(
    template_flux: Array,
    template_err: Array,
    science_psf: PsfModel,
    template_psf: PsfModel,
    difference: Difference,
    x: Array,
    y: Array,
    threads: Executor,
) -> tuple[Array, Array]:
    """(flux, standard deviation) (n,) of stars at 0-based pixels x, y of the science frame, as its own PSF fluxes are; NaN
    where the template's flux or the difference's is.

    template_flux, template_err (n,): the stars' PSF fluxes on the template frame, in its unit.  The error is an upper bound,
    both in quadrature: the template's noise is in both with opposite signs.
    """
    flux, error = difference_fluxes(difference, x, y, threads)
    scales, shares = over_frame(difference, x, y, lambda a, b: _ratios(science_psf, template_psf, difference, a, b)).T
    return scales * template_flux + shares * flux, np.hypot(scales * template_err, shares * error)


def compare(
    bright: Brightness, template_stars: NDArray[np.void], template_psf: PsfModel, difference: Difference, threads: Executor
) -> tuple[Array, Array, ThreeWay]:
    """Total fluxes of a frame's stars and their errors, by the stars that its template has (`brightness.MEASURED`); and how
    the three photometries agree.
    """
    stars = bright.stars
    places = np.column_stack([stars["x"], stars["y"]])
    there = np.column_stack(difference.transform(*places.T))
    known = np.column_stack([template_stars["x"], template_stars["y"]])
    i, j = mutual_pairs(there, known, cKDTree(known), MATCH_PIXELS) if len(known) else (np.zeros(0, int),) * 2
    found, error = np.full((2, len(stars)), np.nan)
    x, y = places[i].T
    flux, flux_err = template_stars["flux"][j], template_stars["flux_err"][j]
    found[i], error[i] = summed_fluxes(flux, flux_err, bright.psf, template_psf, difference, x, y, threads)
    found, error = found * bright.tie, error * bright.tie
    fluxes = {
        "aperture": (stars["circle"], stars["circle_err"]),
        "PSF": (stars["psf"], stars["psf_err"]),
        "template + difference": (found, error),
    }
    return found, error, judge(fluxes, isolated(stars, bright.psf.fwhm))


def judge(fluxes: dict[str, tuple[Array, Array]], isolated: NDArray[np.bool_], limit: float = LIMIT) -> ThreeWay:
    """Compare photometries of the same stars two by two: name -> (total flux (n,), its error), over the isolated ones that
    all have measured.
    """
    seen = isolated & np.all([np.isfinite(flux + error) for flux, error in fluxes.values()], axis=0)
    pairs = {}
    for one, other in combinations(fluxes, 2):
        columns = [column[seen] for column in (*fluxes[one], *fluxes[other])]
        pairs[f"{one} less {other}"] = agreement(columns[0], columns[1], columns[2], columns[3], limit)
    wrong = [f"{name}: {found.reason}" for name, found in pairs.items() if not found.agrees]
    return ThreeWay(pairs, not wrong, wrong[0] if wrong else "")


def isolated(stars: NDArray[np.void], fwhm: float) -> NDArray[np.bool_]:
    """(n,): fitted stars (`photometry.stars.fit.STAR`) that are whole, alone and without a flag, and whose neighbours have
    little light beside theirs.
    """
    flux = np.nan_to_num(stars["flux"]).clip(0)
    places = np.column_stack([stars["x"], stars["y"]])
    one, other = cKDTree(places).query_pairs(ALONE_FWHM * fwhm, output_type="ndarray").T
    beside = np.bincount(one, flux[other], len(flux)) + np.bincount(other, flux[one], len(flux))
    return np.asarray((stars["flags"] == 0) & (flux > 0) & (beside < ALONE_SHARE * flux))


def carried_psf(template: PsfModel, transform: Transform, x: float, y: float) -> Array:
    """The template's PSF on the science frame's grid at a place of that, turned and stretched alike, unit sum."""
    places = transform(np.array([x]), np.array([y]))
    stamp = template.at(float(places[0][0]), float(places[1][0]))
    if transform.identity:
        return stamp
    matrix = transform.jacobian_matrix()[::-1, ::-1]  # of rows and columns
    middle = np.full(2, template.half)
    turned = ndimage.affine_transform(stamp, matrix, middle - matrix @ middle, order=3)
    return np.asarray(turned * abs(np.linalg.det(matrix)))


def _ratios(science: PsfModel, template: PsfModel, difference: Difference, x: float, y: float) -> tuple[float, float]:
    """(m, r) at a place."""
    optics = difference.optics
    kernel = optics.kernel_at(x, y)
    star, other = science.at(x, y), carried_psf(template, difference.transform, x, y)
    if difference.convolved == "science":  # and all of it divided by the kernel's sum there
        seen = convolved(star, kernel / kernel.sum())
        carried = other * (optics.kernel.kernel_sum / kernel.sum())
    else:
        seen = star if optics.wide is None else convolved(star, optics.wide)
        carried = convolved(other, kernel / optics.kernel.kernel_sum)
    own = optics.psf.at(x, y)
    half = min(int(np.ceil(HALF_FWHM * science.fwhm)), science.half)
    core = _resized(seen, half)
    scale = difference.kernel_sum * float((core * _resized(carried, half)).sum() / (core**2).sum())
    return scale, float((own**2).sum() / (own * _resized(seen, own.shape[0] // 2)).sum())


def _resized(stamp: Array, half: int) -> Array:
    """2 half + 1 pixels square round the same middle, 0 where it had none."""
    more = half - stamp.shape[0] // 2
    return np.pad(stamp, more) if more > 0 else stamp[-more : stamp.shape[0] + more, -more : stamp.shape[1] + more]
