"""What follows from the settings of a frame before there is light: time, pointing, how bright the sky is.

Frames of one seed show one sky; `number` counts the frames of a series, between which the telescope drifts.
"""

import math
from datetime import UTC, datetime, timedelta

import numpy as np

from photometry.errors import BadInputError
from photometry.instrument import Instrument
from skysim.detector.chip import Chip
from skysim.frame import NIGHT_START
from skysim.seeds import Purpose, stream
from skysim.settings import FrameSettings
from skysim.sphere.stars import BANDS
from skysim.sphere.tangent import Projection, axes, places

ZERO_POINTS = {"g": 23.2, "r": 23.0, "i": 22.6}  # mag of 1 electron / s through clear air: a mirror of half a metre
DARK_SKY_MAGS = {"g": 21.8, "r": 20.9, "i": 20.0}  # mag / arcsec^2
READ_SECONDS = 5.0
POINTING_ERROR_ARCSEC = 20.0  # rms in each coordinate, of the first frame
DRIFT_ARCSEC = 1.5  # rms in each coordinate, from each frame to the next


def begins(settings: FrameSettings) -> datetime:
    """UTC of the exposure's start."""
    return NIGHT_START + timedelta(seconds=settings.number * (settings.seconds + READ_SECONDS))


def julian_year(moment: datetime) -> float:
    """Of a UTC moment, for proper motions."""
    return 2000.0 + (moment - datetime(2000, 1, 1, 12, tzinfo=UTC)) / timedelta(days=365.25)


def band_of(instrument: Instrument, name: str) -> str:
    """The catalog's band for a filter.  BadInputError: the instrument has no such filter, or skysim no such band."""
    bands = {name: name} if instrument.filters is None else instrument.filters.bands
    if name not in bands or bands[name] not in BANDS:
        raise BadInputError(
            f"no filter {name!r} to simulate: {instrument.name} has {', '.join(bands)}, stars shine in {', '.join(BANDS)}"
        )
    return bands[name]


def aim(settings: FrameSettings, chip: Chip) -> Projection:
    """Where the frame really looks: near where it was told to, drifting along the series."""
    rng = stream(settings.seed, Purpose.DRIFT)
    steps = rng.normal(0, 1, (settings.number + 1, 2)) * DRIFT_ARCSEC
    steps[0] *= POINTING_ERROR_ARCSEC / DRIFT_ARCSEC
    off_east, off_north = np.radians(steps.sum(axis=0) / 3600)
    east, north, outward = axes(settings.ra_deg, settings.dec_deg)
    ra, dec = places(outward + off_east * east + off_north * north)
    return Projection(
        chip.shape, float(ra), float(dec), chip.arcsec_per_pixel, settings.rotation_degrees, settings.mirrored,
        settings.distortion_pixels,
    )  # fmt: skip


def sky_electrons(settings: FrameSettings, chip: Chip, band: str) -> float:
    """Of a pixel in the middle."""
    mag = DARK_SKY_MAGS[band] if settings.sky_mag is None else settings.sky_mag
    return settings.seconds * chip.arcsec_per_pixel**2 * math.pow(10, 0.4 * (ZERO_POINTS[band] - mag))
