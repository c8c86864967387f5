"""The stars of the whole sky, from a seed: any two frames of one sky show the same stars where they overlap.

The sphere is cut into cells of about a square degree: rings of one degree in declination, each of equal parts in right
ascension.  A cell has a random stream of its own.  Counts follow log10 N(<m) = slope m + constant per square degree, i
magnitudes; colours a locus of dwarfs and giants; every star moves a little, a few per cent a lot.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from skysim.optics import FloatArray
from skysim.seeds import Purpose, stream
from skysim.sphere.tangent import axes, places, vectors

EPOCH = 2016.0  # of the places, Julian years
BRIGHTEST_MAG, FAINTEST_MAG = 7.0, 22.0
COUNT_SLOPE = 0.3
STARS_PER_SQUARE_DEGREE = 5_000.0  # brighter than
COUNTED_MAG = 19.8
FAST_FRACTION = 0.04
SLOW_MAS_PER_YEAR = 4.0  # rms in each coordinate
FAST_MAS_PER_YEAR = (30.0, 600.0)
BANDS = ("g", "r", "i")
_CELL_REACH_DEGREES = 1.0  # no part of a cell is farther from its middle
_MAS_PER_DEGREE = 3.6e6


@dataclass(frozen=True)
class Stars:
    """Arrays of equal length: places at `EPOCH` (deg), proper motions (mas / yr, pmra with cos dec), AB magnitudes."""

    ra: FloatArray
    dec: FloatArray
    pmra: FloatArray
    pmdec: FloatArray
    i: FloatArray
    g_minus_r: FloatArray
    r_minus_i: FloatArray

    def only(self, which: NDArray[np.bool_]) -> "Stars":
        """These stars alone."""
        return Stars(*(getattr(self, field.name)[which] for field in fields(self)))

    def magnitude(self, band: str) -> FloatArray:
        """In one of `BANDS`."""
        return {"i": self.i, "r": self.i + self.r_minus_i, "g": self.i + self.r_minus_i + self.g_minus_r}[band]

    def places_at(self, year: float) -> tuple[FloatArray, FloatArray]:
        """ra, dec at a Julian year: along a great circle, so that nothing is special at the poles."""
        east, north, outward = axes(self.ra, self.dec)
        turn = np.radians((year - EPOCH) / _MAS_PER_DEGREE)
        return places(outward + turn * (self.pmra * east + self.pmdec * north))


def stars_around(seed: int, ra: float, dec: float, radius_degrees: float) -> Stars:
    """All stars of the sky `seed` within a circle, in an order that depends on the sky alone."""
    found = [_cell(seed, ring, part) for ring, part in _cells_around(ra, dec, radius_degrees)]
    stars = Stars(*(np.concatenate([getattr(cell, field.name) for cell in found]) for field in fields(Stars)))
    chord = np.linalg.norm(vectors(stars.ra, stars.dec) - vectors(ra, dec)[:, None], axis=0)
    return stars.only(chord <= 2 * math.sin(math.radians(min(radius_degrees, 180.0)) / 2))


def _parts(ring: int) -> int:
    """How many cells ring 0 .. 179 from the south pole has."""
    return math.ceil(360 * math.cos(math.radians(ring - 89.5)))


def _cells_around(ra: float, dec: float, radius_degrees: float) -> Iterator[tuple[int, int]]:
    reach = radius_degrees + _CELL_REACH_DEGREES
    nearest = math.cos(math.radians(min(reach, 180.0)))
    for ring in range(max(0, math.floor(dec + 90 - reach)), min(179, math.floor(dec + 90 + reach)) + 1):
        parts = _parts(ring)
        middles = vectors((np.arange(parts) + 0.5) * (360 / parts), np.full(parts, ring - 89.5))
        for part in np.flatnonzero(vectors(ra, dec) @ middles >= nearest):
            yield ring, int(part)


def _cell(seed: int, ring: int, part: int) -> Stars:
    rng = stream(seed, Purpose.STARS, ring, part)
    width = 360 / _parts(ring)
    low, high = math.sin(math.radians(ring - 90)), math.sin(math.radians(ring - 89))
    area = width * math.degrees(high - low)
    count = int(rng.poisson(area * STARS_PER_SQUARE_DEGREE * 10 ** (COUNT_SLOPE * (FAINTEST_MAG - COUNTED_MAG))))
    mag = FAINTEST_MAG + np.log10(1 - rng.uniform(0, 1, count)) / COUNT_SLOPE
    ra = (part + rng.uniform(0, 1, count)) * width
    dec = np.degrees(np.arcsin(rng.uniform(low, high, count)))
    pmra, pmdec = _motions(count, rng)
    g_minus_r, r_minus_i = _colours(count, rng)
    return Stars(ra, dec, pmra, pmdec, mag, g_minus_r, r_minus_i).only(mag >= BRIGHTEST_MAG)


def _motions(count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    slow = rng.normal(0, SLOW_MAS_PER_YEAR, (2, count))
    speed = np.exp(rng.uniform(math.log(FAST_MAS_PER_YEAR[0]), math.log(FAST_MAS_PER_YEAR[1]), count))
    angle = rng.uniform(0, 2 * math.pi, count)
    fast = rng.uniform(0, 1, count) < FAST_FRACTION
    pmra, pmdec = np.where(fast, speed * np.array([np.sin(angle), np.cos(angle)]), slow)
    return pmra, pmdec


def _colours(count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """g-r and r-i: turn-off stars and giants near g-r = 0.6, and M dwarfs at 1.4, whose r-i spreads (Ivezic et al. 2004)."""
    dwarf = rng.uniform(0, 1, count) < 0.35
    g_minus_r = np.where(dwarf, rng.normal(1.4, 0.06, count), rng.normal(0.6, 0.18, count))
    r_minus_i = np.where(dwarf, rng.gamma(4.0, 0.25, count) + 0.4, 0.36 * g_minus_r + rng.normal(0, 0.03, count))
    return g_minus_r, r_minus_i
