"""The three rungs: carry the template's solution over, search the catalog round the header's place, search the whole sky.

Each returns a solution that `solution.judge` believes, or raises AstrometryFailedError.  Stars are structured arrays with
x, y (0-based pixels) and flux, in any order.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from photometry.astrometry.blind import blind_start
from photometry.astrometry.catalog import Catalog
from photometry.astrometry.fit import refine
from photometry.astrometry.plate import copied, sky_of
from photometry.astrometry.search import coarse_pixels, starts
from photometry.astrometry.solution import AstrometrySettings, Solution, judge
from photometry.errors import AstrometryFailedError
from photometry.registration import Transform, bright_first

StarList = NDArray[Any]

CARRIED_ORDER = 4
CARRIED_PIXELS = 3.0  # how far a carried solution may be wrong
BLIND_TRIED = 1_000_000  # starts that a search of the whole sky counts for


@dataclass(frozen=True)
class Known:
    """A template's solution: its WCS and stars, and the way from science to its pixels (`photometry.registration`)."""

    wcs: WCS
    stars: StarList
    transform: Transform


def solve(
    stars: StarList,
    shape: tuple[int, int],
    epoch: float,
    settings: AstrometrySettings,
    known: Known | None = None,
    catalog: Catalog | None = None,
    pointing: tuple[float, float] | None = None,
    indexes: tuple[Path, ...] = (),
) -> Solution:
    """From the first rung that there is what it takes for, and that gives a solution.

    shape: (ny, nx); epoch: of the exposure, Julian year; pointing: ra, dec by the header, degrees; indexes: of
    `blind.build_indexes`, none where astrometry.net is not installed.  AstrometryFailedError: what each rung said.
    """
    said = []
    try:
        if known is not None:
            return carry(stars, shape, known, settings)
    except AstrometryFailedError as refused:
        said.append(f"template: {refused}")
    try:
        if catalog is not None and pointing is not None:
            return search(stars, shape, catalog, pointing, epoch, settings)
    except AstrometryFailedError as refused:
        said.append(f"catalog: {refused}")
    try:
        if catalog is not None and indexes:
            return blind(stars, shape, catalog, indexes, epoch, settings)
    except AstrometryFailedError as refused:
        said.append(f"blind: {refused}")
    raise AstrometryFailedError(
        "; ".join(said) or "nothing to solve from: neither a template with a solution, nor a star catalog and a pointing"
    )


def carry(stars: StarList, shape: tuple[int, int], known: Known, settings: AstrometrySettings) -> Solution:
    """The template's solution, refined on the template's stars."""
    to_sky = sky_of(known.wcs)
    start = copied(lambda xy: to_sky(np.stack(known.transform(*xy.T), axis=1)), shape, CARRIED_ORDER)
    xy, vectors = bright_first(stars), to_sky(bright_first(known.stars))
    return judge(refine(start, xy, vectors, CARRIED_PIXELS), xy, vectors, "template", 1, settings)


def search(
    stars: StarList,
    shape: tuple[int, int],
    catalog: Catalog,
    pointing: tuple[float, float],
    epoch: float,
    settings: AstrometrySettings,
) -> Solution:
    """From the catalog's stars within pointing_error_degrees of where the header says."""
    radius = settings.pointing_error_degrees + _half_diagonal(shape, settings)
    vectors = catalog.around(*pointing, radius, epoch).vectors
    xy = bright_first(stars)
    why = "no pattern of stars in common"
    for start in starts(xy, shape, vectors, radius, settings):
        there = catalog.around(start.plate.ra, start.plate.dec, 1.1 * _half_diagonal(shape, settings), epoch).vectors
        try:
            return judge(refine(start.plate, xy, there, coarse_pixels(shape)), xy, there, "catalog", start.tried, settings)
        except AstrometryFailedError as refused:
            why = str(refused)
    raise AstrometryFailedError(
        f"{why} ({len(xy)} stars on the frame, {len(vectors)} in the catalog within {radius:.2f} degrees of"
        f" {pointing[0]:.4f} {pointing[1]:+.4f}, pixels of {settings.scale_arcsec:g} arcsec); check the pointing,"
        " scale_arcsec and the catalog"
    )


def blind(
    stars: StarList,
    shape: tuple[int, int],
    catalog: Catalog,
    indexes: tuple[Path, ...],
    epoch: float,
    settings: AstrometrySettings,
) -> Solution:
    """From anywhere on the sky that the catalog covers, by indexes of it (`blind.build_indexes`)."""
    xy = bright_first(stars)
    start = blind_start(xy, shape, indexes, settings)
    vectors = catalog.around(start.ra, start.dec, 1.1 * _half_diagonal(shape, settings), epoch).vectors
    return judge(refine(start, xy, vectors, coarse_pixels(shape)), xy, vectors, "blind", BLIND_TRIED, settings)


def _half_diagonal(shape: tuple[int, int], settings: AstrometrySettings) -> float:
    """Degrees from the middle of the frame to its corners."""
    return float(np.hypot(*shape)) / 2 * settings.scale_arcsec / 3600
