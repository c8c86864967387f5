"""Where the telescope stands, and what of an exposure depends on that: barycentric times, and cards of time and place.

All of it from tables that come with astropy, never from the network.  UTC is what `photometry.times.exposure_of` says.
BJD_TDB is good to 0.1 s for a star: the Earth's place to some 10 km (astropy's built-in ephemeris), its rotation to a
second where the tables end, no parallax.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.coordinates import EarthLocation, SkyCoord
from astropy.time import Time
from astropy.utils import iers
from numpy.typing import NDArray

from photometry.times import Exposure

Array = NDArray[np.float64]
Cards = dict[str, tuple[str | float, str]]

_SECONDS_PER_DAY = 86400.0
iers.conf.auto_download = False  # astropy asks once, at its first Time


@dataclass(frozen=True)
class Site:
    """Where the telescope stands: degrees east and north (WGS84), metres above the ellipsoid."""

    longitude: float
    latitude: float
    height: float

    def location(self) -> EarthLocation:
        return EarthLocation.from_geodetic(self.longitude, self.latitude, self.height)


def bjd_tdb(mjd_utc: Array | float, ra: float, dec: float, site: Site) -> Array:
    """Barycentric Julian dates, TDB, of moments (MJD, UTC) at which light from ra, dec (ICRS, degrees) reached the site.

    Eastman, Siverd & Gaudi 2010, PASP 122, 935.
    """
    with _offline():
        time = Time(np.asarray(mjd_utc, float), format="mjd", scale="utc", location=site.location())
        delay = time.light_travel_time(SkyCoord(ra, dec, unit="deg"), ephemeris="builtin")
        return np.asarray((time.tdb + delay).jd, float)


def time_cards(exposure: Exposure, site: Site | None = None) -> Cards:
    """TIMESYS, DATE-BEG, DATE-AVG, DATE-END, MJD-AVG where they are known, and OBSGEO-X, -Y, -Z: name -> (value, comment).

    FITS standard 4.0, section 9 (Rots et al. 2015, A&A 574, A36).
    """
    cards: Cards = {}
    if exposure.start_mjd is not None:
        cards["TIMESYS"] = ("UTC", "scale of the times here")
        cards["DATE-BEG"] = (_iso(exposure.start_mjd), "start of the exposure")
        if exposure.seconds is not None and exposure.mid_mjd is not None:
            end = exposure.start_mjd + exposure.seconds / _SECONDS_PER_DAY
            cards["DATE-AVG"] = (_iso(exposure.mid_mjd), "middle of the exposure")
            cards["DATE-END"] = (_iso(end), "end of the exposure")
            cards["MJD-AVG"] = (round(exposure.mid_mjd, 9), "[d] middle of the exposure")
    if site is not None:
        for axis, value in zip("XYZ", site.location().to_geocentric(), strict=True):
            cards[f"OBSGEO-{axis}"] = (round(float(value.to_value(u.m)), 3), "[m] of the telescope, ITRS")
    return cards


def _iso(mjd: float) -> str:
    with _offline():
        return str(Time(mjd, format="mjd", scale="utc", precision=3).isot)


@contextmanager
def _offline() -> Iterator[None]:
    """With the tables at hand, however old: a second of the Earth's rotation is 0.5 km, and 2 microseconds of light."""
    with (
        iers.conf.set_temp("auto_max_age", None),
        iers.conf.set_temp("iers_degraded_accuracy", "ignore"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of dates that no table covers
        yield
