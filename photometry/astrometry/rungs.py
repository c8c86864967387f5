"""The three ways to a solution, the cheapest first: carry the template's over, search the catalog, ask solve-field."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray

from photometry.astrometry.catalog import Catalog
from photometry.astrometry.fit import refine
from photometry.astrometry.plate import Array, copied, sky_of
from photometry.astrometry.search import starts
from photometry.astrometry.solution import AstrometrySettings, Solution, judge
from photometry.errors import AstrometryFailedError
from photometry.registration import Transform

StarList = NDArray[Any]

CARRIED_ORDER = 4
CARRIED_PIXELS = 3.0  # how far a carried solution may be wrong


def bright_first(stars: StarList) -> Array:
    """(n, 2) pixels of the finite stars, the brightest first."""
    good = np.isfinite(stars["x"]) & np.isfinite(stars["y"]) & (stars["flux"] > 0)
    chosen = stars[good][np.argsort(-stars["flux"][good], kind="stable")]
    return np.stack([chosen["x"], chosen["y"]], axis=1).astype(float)


def carry(
    stars: StarList,
    shape: tuple[int, int],
    transform: Transform,
    template_stars: StarList,
    template_wcs: WCS,
    settings: AstrometrySettings,
) -> Solution:
    """The template's solution, through the transform from science to template pixels, refined on the template's stars."""
    to_sky = sky_of(template_wcs)
    start = copied(lambda xy: to_sky(np.stack(transform(*xy.T), axis=1)), shape, CARRIED_ORDER)
    xy, vectors = bright_first(stars), to_sky(bright_first(template_stars))
    return judge(refine(start, xy, vectors, CARRIED_PIXELS), xy, vectors, "template", 1, settings)


def search(
    stars: StarList,
    shape: tuple[int, int],
    catalog: Catalog,
    pointing: tuple[float, float],
    epoch: float,
    settings: AstrometrySettings,
) -> Solution:
    """From the catalog's stars round the header's place (ra, dec), at that Julian year."""
    half = _half_diagonal(shape, settings)
    radius = settings.pointing_error_degrees + half
    vectors = catalog.around(*pointing, radius, epoch).vectors
    xy = bright_first(stars)
    why = "no pattern of stars in common"
    for start in starts(xy, shape, vectors, radius, settings):
        there = catalog.around(start.plate.ra, start.plate.dec, 1.1 * half, epoch).vectors
        try:
            return judge(refine(start.plate, xy, there, start.radius_pixels), xy, there, "catalog", start.tried, settings)
        except AstrometryFailedError as refused:
            why = str(refused)
    raise AstrometryFailedError(
        f"no solution from the catalog: {why} ({len(xy)} stars on the frame, {len(vectors)} in the catalog within"
        f" {radius:.2f} degrees of {pointing[0]:.4f} {pointing[1]:+.4f}, pixels of {settings.scale_arcsec:g} arcsec); check the"
        " pointing, scale_arcsec and the catalog"
    )


def _half_diagonal(shape: tuple[int, int], settings: AstrometrySettings) -> float:
    """Degrees from the middle of the frame to its corners."""
    return float(np.hypot(*shape)) / 2 * settings.scale_arcsec / 3600
