"""A plate refined on stars of known places: ever closer pairs, ever more terms, outliers dropped.

What is fitted is the correction to the plate that the fit starts from, so a distortion that is known already stays where
there are too few stars to find it again.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from photometry.astrometry.plate import Plate
from photometry.astrometry.sphere import project
from photometry.errors import AstrometryFailedError
from photometry.polynomials import best_fit, evaluate, mutual_pairs, solve

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

BRIGHT = 300  # stars that the first steps look at
BRIGHT_STEPS, ALL_STEPS = 4, 2
LEAST_STARS = 5
STARS_FOR_ORDER = (15, 40, 100)  # 2, 3 and 4
STARS_TO_CHOOSE_ORDER = 4000
MARGIN_PIXELS = 20.0  # how far outside the frame a star of the catalog may seem to lie
CLIP_SIGMA = 3.5
SMALLEST_RADIUS = 0.3


@dataclass(frozen=True)
class Fit:
    """plate; stars and catalog stars that agree, by their numbers, and how far these lie from those on either axis, pixels.

    near: numbers of all catalog stars on the frame; radius_pixels: within which partners were looked for; sigma_pixels: the
    scatter on one axis, robust; order: of the correction.
    """

    plate: Plate
    i: Indices
    j: Indices
    miss: Array
    near: Indices
    radius_pixels: float
    sigma_pixels: float
    order: int


def refine(start: Plate, xy: Array, vectors: Array, radius_pixels: float) -> Fit:
    """The plate nearest to the stars at pixels xy (n, 2) and the catalog's at unit vectors (m, 3), each brightest first.

    radius_pixels: how far the start may be wrong.  AstrometryFailedError: hardly a pair is left.
    """
    scale = start.scale_degrees()
    places = project(vectors, start.frame())
    near = _on_frame(start, places)
    there, here = places[near] / scale, start.plane(xy) / scale
    plate, sigma, radius = start, radius_pixels, radius_pixels
    for step in range(BRIGHT_STEPS + ALL_STEPS):
        depth = BRIGHT if step < BRIGHT_STEPS else max(len(here), len(there))
        if depth > len(there) or step in {0, BRIGHT_STEPS}:
            tree = cKDTree(there[:depth])
        i, j = mutual_pairs(plate.plane(xy[:depth]) / scale, there, tree, radius)
        if len(i) < LEAST_STARS:
            raise AstrometryFailedError(
                f"the fit fell apart: {len(i)} stars agree within {radius:.2f} px, {LEAST_STARS} needed"
            )
        highest = 1 + int(np.searchsorted(STARS_FOR_ORDER, len(i), side="right"))
        tables, keep, sigma = _clipped(xy[i], there[j] - here[i], start.shape, min(highest, 1 + step))
        plate = start.corrected(tables[0] * scale, tables[1] * scale)
        used = radius
        if step >= BRIGHT_STEPS - 1:  # before, stars at the edge still wait for the terms that bring them home
            radius = float(np.clip(6 * sigma, SMALLEST_RADIUS, radius))
    i, j = i[keep], j[keep]
    miss = (plate.plane(xy[i]) - places[near[j]]) / scale
    return Fit(plate.centred(), i, near[j], miss, near, used, sigma, len(tables[0]) - 1)


def _on_frame(plate: Plate, places: Array) -> Indices:
    """Numbers of the places on the plane that lie on the frame, or nearly."""
    ny, nx = plate.shape
    with np.errstate(invalid="ignore"):
        x, y = plate.pixels(places).T
        inside = (x > -MARGIN_PIXELS) & (x < nx + MARGIN_PIXELS) & (y > -MARGIN_PIXELS) & (y < ny + MARGIN_PIXELS)
    return np.flatnonzero(inside)


def _clipped(
    xy: Array, offset: Array, shape: tuple[int, int], highest: int
) -> tuple[tuple[Array, Array], NDArray[np.bool_], float]:
    """Coefficients of the polynomial through offsets (n, 2), which of them agree, and their scatter on one axis."""
    keep = np.ones(len(xy), bool)
    some = slice(STARS_TO_CHOOSE_ORDER)
    for _ in range(5):
        order = len(best_fit(xy[keep][some], offset[keep][some], shape, 1, highest)[0]) - 1
        tables = solve(xy[keep], offset[keep], shape, order)
        miss = np.hypot(*(np.stack(evaluate(*tables, shape, *xy.T)) - offset.T))
        sigma = max(float(np.median(miss[keep])) / 1.1774, 1e-4)
        closer = miss < CLIP_SIGMA * sigma
        if closer.sum() < LEAST_STARS or (closer == keep).all():
            break
        keep = closer
    return tables, keep, sigma
