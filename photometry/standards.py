"""The frame's zero point from the catalog's stars on it, and magnitudes by that."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from photometry.acquire import Acquired
from photometry.astrometry import Catalog
from photometry.astrometry.plate import sky_of
from photometry.astrometry.sphere import angles
from photometry.locate import julian_year
from photometry.polynomials import mutual_pairs
from photometry.stars.brightness import Brightness
from photometry.zero_point import NOTHING_KNOWN, Expected, ZeroPoint, measure_zero_point

Array = NDArray[np.float64]

MATCH_PIXELS = 1.5
_CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5]])


@dataclass(frozen=True)
class Calibration:
    """A zero point and what its magnitudes are: their band and system by the catalog, '' where it does not say."""

    zero: ZeroPoint
    band: str
    system: str

    def figures(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "zero_point": self.zero.value,
            "zero_point_error": self.zero.error,
            "zero_point_rms": self.zero.rms,
            "zero_point_stars": self.zero.stars,
            "colour_term": self.zero.colour,
            "colour_term_error": self.zero.colour_error,
            "band": self.band,
            "system": self.system,
        }


def calibrate_magnitudes(
    frame: Acquired, wcs: WCS, bright: Brightness, catalog: Catalog, sky: float, expected: Expected = NOTHING_KNOWN
) -> tuple[Calibration, str]:
    """The zero point from clean stars that the catalog knows; second: a note, '' for none.

    sky: the frame's level.  Never raises; with too few stars the zero point is NaN, and its flags say so.
    """
    stars = bright.stars[bright.clean]
    shape = frame.frame.image.shape
    to_sky = sky_of(wcs)
    vectors = to_sky(np.column_stack([stars["x"], stars["y"]]))
    ny, nx = shape
    corners = to_sky(_CORNERS * np.array([nx - 1, ny - 1]))
    scale = float(np.linalg.norm(corners[0] - corners[3])) / float(np.hypot(ny, nx))  # radians, good enough to match
    (ra,), (dec,) = angles(corners[4:])
    radius = float(np.degrees(np.linalg.norm(corners[:4] - corners[4], axis=1).max())) * 1.01
    near = catalog.around(float(ra), float(dec), radius, julian_year(frame.exposure))
    rows, note = _of_band(near.rows, frame)
    known = near.vectors[rows]
    i, j = mutual_pairs(vectors, known, cKDTree(known), MATCH_PIXELS * scale) if len(known) else (np.zeros(0, int),) * 2
    found, matched = stars[i], near.rows[rows][j]
    colour = matched["colour"].astype(float)
    zero = measure_zero_point(
        found["psf"], found["psf_err"], matched["mag"].astype(float), np.nan_to_num(matched["mag_err"]).astype(float),
        found["x"], found["y"], shape, _centred(colour), sky, expected,
    )  # fmt: skip
    band, system = (_commonest(matched[name]) for name in ("band", "system"))
    return Calibration(zero, band, system), note


def _of_band(rows: NDArray[np.void], frame: Acquired) -> tuple[NDArray[np.intp], str]:
    """Which rows are of the frame's band; all where the catalog does not have it, with a note."""
    usable = np.isfinite(rows["mag"])
    filters = frame.camera.filters if frame.camera else None
    band = filters.bands.get(frame.filter, frame.filter) if filters else frame.filter
    same = usable & (rows["band"] == band)
    if same.any() or not usable.any():
        return np.flatnonzero(same), ""
    other = _commonest(rows["band"][usable])
    chosen = np.flatnonzero(usable & (rows["band"] == other))
    if not other:
        return chosen, ""
    return chosen, f"the star catalog has no magnitudes in the band {band!a}: those in {other!a} are used"


def _centred(colour: Array) -> Array | None:
    """Colours from their median; None unless most stars have one."""
    known = np.isfinite(colour)
    return colour - np.median(colour[known]) if known.any() and known.mean() > 0.5 else None


def _commonest(words: NDArray[np.str_]) -> str:
    if not len(words):
        return ""
    names, counts = np.unique(words, return_counts=True)
    return str(names[np.argmax(counts)])
