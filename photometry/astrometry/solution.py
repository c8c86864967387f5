"""What a solution is, what it is asked for, and when it is believed.

A false solution is worse than none.  A plate is believed where, among the stars that could agree (the brightest on either
side, about as many as the shorter list holds), all of this is so:

- log-odds against chance: with the catalog's stars strewn at random, the number of pairs is Poisson with mean L, and
  ln P(>= n) < -(n ln(n / L) - n + L) (Chernoff's bound).  Stars that the fit's free terms could bend into place do not count
  in n, and the starts that were tried are paid for (the odds are Lang et al.'s, 2010, AJ 139, 1782);
- the share of the stars that agree;
- the pixel's size along both axes, against what is known of the instrument;
- each half of the stars, left and right or low and high, for itself: its log-odds, and where its own linear plate puts the
  line between the halves.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from photometry.astrometry.fit import Fit
from photometry.astrometry.plate import Cards, wcs_cards
from photometry.astrometry.sphere import project
from photometry.errors import AstrometryFailedError
from photometry.polynomials import evaluate, solve

Array = NDArray[np.float64]
Rung = Literal["template", "catalog", "blind"]

LOG_ODDS = float(np.log(1e9))
HALF_LOG_ODDS = float(np.log(1e3))
INLIER_SHARE = 0.2
HALF_PIXELS = 1.0  # how far a half may shift the line between the halves
STARS_FOR_LINEAR = 8  # of a half; with fewer, its shift alone


@dataclass(frozen=True)
class AstrometrySettings:
    """What is known of the instrument.

    scale_arcsec            of a pixel's side; it may be wrong by the share scale_tolerance
    pointing_error_degrees  how far the header's place may be wrong
    blind_seconds           that solve-field may take
    """

    scale_arcsec: float
    scale_tolerance: float = 0.05
    pointing_error_degrees: float = 2.0
    blind_seconds: float = 60.0


@dataclass(frozen=True)
class Half:
    """One half's own check: stars that agree, their rms on one axis, log-odds, and by how much it moves the line between."""

    stars: int
    rms_pixels: float
    log_odds: float
    offset_pixels: float


@dataclass(frozen=True)
class Solution:
    """Where a frame lies on the sky, and why that is believed.

    header        the cards of a FITS WCS (TAN, or TAN-SIP with its inverse; ICRS), pixels 1-based: name -> value
    rung          what it was found from: the template, the catalog, or the catalog's indexes alone
    stars         that the plate was fitted to, all within 3.5 sigma;  rms on one axis, in pixels and arcsec
    log_odds      natural logarithm, against chance;  inlier_share: of the stars that could agree
    scale_arcsec  of a pixel's side in the middle of the frame;  order: highest power of the pixel coordinates
    """

    header: Cards
    rung: Rung
    stars: int
    rms_pixels: float
    rms_arcsec: float
    log_odds: float
    inlier_share: float
    scale_arcsec: float
    order: int
    halves: tuple[Half, Half]


def log_odds(pairs: float, expected: float) -> float:
    """Against so many pairs or more by chance where so many are expected: a lower bound, 0 where there is no surprise."""
    if pairs <= expected:
        return 0.0
    return float(pairs * np.log(pairs / max(expected, 1e-12)) - pairs + expected)


def judge(fit: Fit, xy: Array, vectors: Array, rung: Rung, tried: int, settings: AstrometrySettings) -> Solution:
    """The solution that a fit of stars xy (n, 2) and vectors (m, 3) is; tried: how many starts were looked at.

    AstrometryFailedError, with the figures, where it is not to be believed.
    """
    places = fit.plate.pixels(project(vectors[fit.near], fit.plate.frame()))
    stars = min(len(xy), len(fit.near))
    of_stars, of_catalog = xy[: 2 * stars], places[: 2 * stars]
    counted = (fit.i < 2 * stars) & np.isin(fit.j, fit.near[: 2 * stars])
    free = (fit.order + 1) * (fit.order + 2) / 2
    odds = _odds(int(counted.sum()), free, of_stars, of_catalog, fit)[0] - float(np.log(tried))
    halves = _halves(fit, xy, counted, of_stars, of_catalog)
    share = float(counted.sum() / stars)
    scale = 3600 * fit.plate.scale_degrees()
    rms = float(np.sqrt((fit.miss**2).mean()))
    _require(odds, share, 3600 * np.linalg.svd(fit.plate.linear())[1], halves, settings)
    return Solution(
        wcs_cards(fit.plate), rung, len(fit.i), rms, rms * scale, odds, share, scale, len(fit.plate.cx) - 1, halves
    )


def _odds(pairs: int, free: float, stars: Array, catalog: Array, fit: Fit) -> tuple[float, float]:
    """Log-odds of so many pairs, and how many are expected, over the area that the stars span."""
    area = float(np.prod(np.ptp(np.concatenate([stars, catalog]), axis=0))) if len(stars) + len(catalog) > 1 else 1.0
    expected = len(stars) * len(catalog) / max(area, 1.0) * np.pi * fit.radius_pixels**2
    return log_odds(pairs - free, expected), expected


def _halves(fit: Fit, xy: Array, counted: NDArray[np.bool_], stars: Array, catalog: Array) -> tuple[Half, Half]:
    ny, nx = fit.plate.shape
    axis = 0 if nx >= ny else 1
    paired, miss = xy[fit.i[counted]], fit.miss[counted]
    cut = float(np.median(paired[:, axis]))
    line = np.array([(nx - 1) / 2, (ny - 1) / 2])
    line[axis] = cut
    out = []
    for sign in (-1, 1):
        mine, ours, theirs = (sign * (p[:, axis] - cut) > 0 for p in (paired, stars, catalog))
        free = 3 if mine.sum() >= STARS_FOR_LINEAR else 1
        odds, _ = _odds(int(mine.sum()), free, stars[ours], catalog[theirs], fit)
        rms = float(np.sqrt((miss[mine] ** 2).mean())) if mine.any() else float("inf")
        out.append(Half(int(mine.sum()), rms, odds, _offset(paired[mine], miss[mine], line, fit.plate.shape)))
    return out[0], out[1]


def _offset(xy: Array, miss: Array, line: Array, shape: tuple[int, int]) -> float:
    """By how many pixels the half's own plate moves a place between the halves."""
    if not len(xy):
        return float("inf")
    if len(xy) < STARS_FOR_LINEAR:
        return float(np.hypot(*miss.mean(axis=0)))
    return float(np.hypot(*evaluate(*solve(xy, miss, shape, 1), shape, *line)))


def _require(odds: float, share: float, sides: Array, halves: tuple[Half, Half], settings: AstrometrySettings) -> None:
    """AstrometryFailedError names the first test that fails."""
    low, high = (settings.scale_arcsec * (1 + sign * settings.scale_tolerance) for sign in (-1, 1))
    if not (low <= sides.min() and sides.max() <= high):
        raise AstrometryFailedError(
            f"not believed: pixels of {sides.max():.4g} x {sides.min():.4g} arcsec, {low:.4g} to {high:.4g} are known of the"
            " instrument; if those are wrong, correct scale_arcsec"
        )
    if odds < LOG_ODDS or share < INLIER_SHARE:
        raise AstrometryFailedError(
            f"not believed: log-odds {odds:.1f} of {LOG_ODDS:.1f}, {share:.0%} of the stars agree of {INLIER_SHARE:.0%};"
            " is the catalog deep enough, and of this field?"
        )
    for half in halves:
        if half.log_odds < HALF_LOG_ODDS or half.offset_pixels > HALF_PIXELS:
            raise AstrometryFailedError(
                f"not believed: the halves disagree: log-odds {halves[0].log_odds:.1f} and {halves[1].log_odds:.1f} of"
                f" {HALF_LOG_ODDS:.1f}, offsets {halves[0].offset_pixels:.2f} and {halves[1].offset_pixels:.2f} px,"
                f" {HALF_PIXELS:g} allowed; is half of the frame covered?"
            )
