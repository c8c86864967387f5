"""A frame as a file: the header that photometry reads, and a safe arrival.

A frame is written under a name ending in .tmp and then renamed, so that a task pool sees it whole or not at all.
"""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from skysim.camera import Camera
from skysim.schedule import Exposure

NIGHT_START = datetime(2026, 6, 21, 13, 0, tzinfo=UTC)  # midwinter at Dome A: dark all day
TEMPLATE_START = datetime(2026, 5, 2, 13, 0, tzinfo=UTC)
TELESCOPE = "AST3-1"
FILTER = "i"
ARCSEC_PER_PIXEL = 1.0
FIELD_RA_DEG, FIELD_DEC_DEG = 98.0, -68.0
_MJD_ZERO = datetime(1858, 11, 17, tzinfo=UTC)


def mjd(moment: datetime) -> float:
    """Modified Julian date, UTC, days."""
    return (moment - _MJD_ZERO) / timedelta(days=1)


def header(camera: Camera, exposure: Exposure, begins: datetime, averaged: int = 1) -> fits.Header:
    """The header of one frame, or of the average of `averaged` equal frames; noise cards describe the frame as it is."""
    cards = [
        ("TELESCOP", TELESCOPE, "simulated by skysim"),
        ("INSTRUME", "SKYSIM", "simulated camera"),
        ("SIMULATE", True, "not a real sky"),
        ("OBJECT", "AST3 DEMO FIELD", ""),
        ("OBSTYPE", "TEMPLATE" if averaged > 1 else "SCIENCE", ""),
        ("FILTER", FILTER, ""),
        ("DATE-OBS", begins.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3], "UTC, start of the exposure"),
        ("MJD-OBS", mjd(begins), "[d] UTC, start of the exposure"),
        ("TIMESYS", "UTC", ""),
        ("EXPTIME", exposure.seconds, "[s]"),
        ("GAIN", camera.gain * averaged, "[electron/adu]"),
        ("RDNOISE", camera.read_noise * math.sqrt(averaged), "[electron] with the gain above"),
        ("SATURATE", camera.saturation_adu, "[adu]"),
        ("BUNIT", "adu", ""),
        ("NCOMBINE", averaged, "frames averaged"),
    ]
    result = fits.Header([card for card in cards if card[0] != "NCOMBINE" or averaged > 1])
    result.extend(_wcs(camera, exposure))
    result["HISTORY"] = "bias and flat are perfect and removed; no overscan"
    return result


def _wcs(camera: Camera, exposure: Exposure) -> fits.Header:
    """A TAN WCS as a telescope's pointing model would have it: right but for the exposure's drift."""
    ny, nx = camera.shape
    point = exposure.pointing
    c, s = math.cos(math.radians(point.rotation_degrees)), math.sin(math.radians(point.rotation_degrees))
    scale = ARCSEC_PER_PIXEL / 3600
    drift_x, drift_y = exposure.wcs_drift_pixels
    return fits.Header(
        [
            ("WCSAXES", 2),
            ("CTYPE1", "RA---TAN"),
            ("CTYPE2", "DEC--TAN"),
            ("CUNIT1", "deg"),
            ("CUNIT2", "deg"),
            ("RADESYS", "ICRS"),
            ("CRVAL1", FIELD_RA_DEG, "[deg]"),
            ("CRVAL2", FIELD_DEC_DEG, "[deg]"),
            ("CRPIX1", (nx + 1) / 2 + point.dx_pixels + drift_x),
            ("CRPIX2", (ny + 1) / 2 + point.dy_pixels + drift_y),
            ("CD1_1", -scale * c, "[deg/pixel]"),
            ("CD1_2", -scale * s, "[deg/pixel]"),
            ("CD2_1", -scale * s, "[deg/pixel]"),
            ("CD2_2", scale * c, "[deg/pixel]"),
        ]
    )


def write_frame(path: Path, adu: NDArray[np.uint16] | NDArray[np.float32], cards: fits.Header) -> None:
    """Write the frame with checksums under `path`.tmp, then rename it to `path`; an OSError leaves only the .tmp behind."""
    unfinished = path.with_name(path.name + ".tmp")
    hdu = fits.PrimaryHDU(adu, cards)
    hdu.add_checksum(when="of this HDU")  # the default comment holds today's date: no two files would be equal
    hdu.writeto(unfinished, overwrite=True)
    unfinished.rename(path)
