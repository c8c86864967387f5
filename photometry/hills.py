"""The sources of a frame as hills of its score: each has one top, and stands out of the passes to higher ones.

A band of rows at a time, on threads; what comes out does not depend on where the bands lie, but for the rounding of sums.
The hills and passes are the frame's merge tree; Bertin & Arnouts 1996 deblend by the same tree, cut at a few levels.
"""

from concurrent.futures import Executor
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from photometry.background import Background
from photometry.loops.basins import Hills, Passes, find_hills
from photometry.loops.merge import add_parts, join_over_passes, passes_at_border
from photometry.score import HIDDEN, Score

FLOOR_SIGMA = 2.5  # of the score: how far down a hill reaches
LEAST_SIGMA = 4.0  # of the score and its photons: that a top stands above the pass to a higher one
CONTRAST = 0.2  # of the pass: the same, where a trail or a bright source is uneven of itself
BAND_ROWS = 64

Plane = NDArray[np.float32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True)
class Tops:
    """Sources (n,) in the order of their places.

    height     of the score;  vertex (n, 2) y, x: where it is highest, between the pixels
    moments    (n, 6): light times 1, x, y, xx, yy, xy, from the top's pixel, place (n, 2) y, x
    brightest  the highest pixel, at bright_at (n, 2) y, x
    crowded    a neighbour is reached without falling below the threshold
    leaning    on the slope of a higher one
    """

    height: Plane
    place: Numbers
    vertex: NDArray[np.float64]
    moments: NDArray[np.float64]
    brightest: Plane
    bright_at: Numbers
    crowded: NDArray[np.bool_]
    leaning: NDArray[np.bool_]

    def only(self, which: NDArray[np.bool_]) -> "Tops":
        """These alone."""
        return Tops(*(getattr(self, field.name)[which] for field in fields(self)))


@dataclass(frozen=True)
class _Band:
    """A band's hills and passes, and the score of its last row and of the one behind it."""

    rows: slice
    hills: Hills
    passes: Passes
    last: Plane
    behind: Plane


def find_tops(score: Score, sky: Background, threshold: float, rows: slice, threads: Executor) -> Tops:
    """The sources of these rows whose score is above the threshold; beyond the rows nothing is seen."""
    edges = range(rows.start, rows.stop, BAND_ROWS)
    bands = list(threads.map(lambda y: _look(score, slice(y, min(y + BAND_ROWS, rows.stop)), rows), edges))
    first = np.cumsum([0, *(len(band.hills.height) for band in bands)])
    place, height, vertex, moments, brightest, bright_at = (
        np.concatenate([getattr(band.hills, name) for band in bands])
        for name in ("place", "height", "vertex", "moments", "brightest", "bright_at")
    )
    lead = _lead(bands, first)
    add_parts(lead, place, moments, brightest, bright_at)
    sides, passes = _all_passes(bands, first)
    sides = np.sort(lead[sides], axis=1)
    order = np.lexsort((sides[:, 1], sides[:, 0], -passes))
    ranks = np.empty(len(height), np.int64)
    ranks[np.argsort(-height, kind="stable")] = np.arange(len(height))
    least = (LEAST_SIGMA * _photon_noise(score, sky, place)).astype(np.float32)
    source, crowded, leaning = join_over_passes(height, ranks, least, CONTRAST, sides[order], passes[order], threshold)
    add_parts(np.where(lead == np.arange(len(lead)), source, np.arange(len(lead))), place, moments, brightest, bright_at)
    own = (source == np.arange(len(source))) & (lead == source) & (height > threshold) & (bright_at[:, 0] >= 0)
    return Tops(
        height[own], place[own], vertex[own], moments[own], brightest[own], bright_at[own], crowded[own], leaning[own]
    )


def _look(score: Score, band: slice, rows: slice) -> _Band:
    y0, y1 = max(band.start - 1, rows.start), min(band.stop + 1, rows.stop)
    nx = score.image.shape[1]
    heights = np.full((band.stop - band.start + 2, nx), -np.inf, np.float32)
    heights[y0 - band.start + 1 : y1 - band.start + 1] = score.rows(y0, y1)
    hidden = (score.image.mask[band] & np.uint16(HIDDEN)) != 0
    hills, passes = find_hills(heights, score.image.data[band], hidden, band.start, FLOOR_SIGMA)
    return _Band(band, hills, passes, heights[-2].copy(), heights[-1].copy())


def _lead(bands: list[_Band], first: Numbers) -> Numbers:
    """For each band's hill the one, of all bands', that has its top."""
    lead = np.arange(first[-1])
    for j, band in enumerate(bands):
        y, x = band.hills.place.T
        own = lead[first[j] : first[j + 1]]
        up, down = y < band.rows.start, y >= band.rows.stop
        if up.any():
            own[up] = first[j - 1] + bands[j - 1].hills.last[x[up]]
        if down.any():
            own[down] = first[j + 1] + bands[j + 1].hills.first[x[down]]
    while (lead[lead] != lead).any():
        lead = lead[lead]
    return lead


def _all_passes(bands: list[_Band], first: Numbers) -> tuple[Numbers, Plane]:
    """(m, 2) of all bands' hills, and (m,): within the bands and over their borders."""
    sides = [band.passes.hills.astype(np.int64) + start for band, start in zip(bands, first[:-1], strict=True)]
    heights = [band.passes.height for band in bands]
    for j, (band, following) in enumerate(pairwise(bands)):
        pair, height = passes_at_border(band.hills.last, following.hills.first, band.last, band.behind)
        sides.append(pair + first[j : j + 2])
        heights.append(height)
    return np.concatenate(sides), np.concatenate(heights)


def _photon_noise(score: Score, sky: Background, place: Numbers) -> NDArray[np.float64]:
    """(n,): noise of the score at these places, the sources' photons included, over that of blank sky."""
    y, x = place.T
    return np.asarray(np.sqrt(np.maximum(score.image.variance[y, x] / sky.noise_at(y, x) ** 2, 1.0)))
