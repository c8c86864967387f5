"""A calibrated frame, and masters, as FITS files: plane by plane, each an extension that says what it is."""

from collections.abc import Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from photometry.calibration.engine import Calibrated
from photometry.plane_file import PlaneFile
from photometry.subtraction.files import mask_header
from photometry.times import Exposure

FLOAT: np.dtype[Any] = np.dtype(">f4")
BITS: np.dtype[Any] = np.dtype(">i2")
BYTE: np.dtype[Any] = np.dtype("u1")
_ROWS = 512  # written at a time
_MORE_CARDS = 100  # than the frame's own


def write_calibrated(path: Path, found: Calibrated, header: fits.Header, exposure: Exposure, threads: Executor) -> None:
    """SCI and VAR, electron and electron**2, and MASK; header: clean (`photometry.headers`).  OSError: no space, an I/O
    error.
    """
    image = found.image
    dtypes = {"SCI": FLOAT, "VAR": FLOAT, "MASK": BITS}
    file = PlaneFile(path, image.shape, dtypes, {"SCI": len(header) + _MORE_CARDS})
    for y0 in range(0, image.shape[0], _ROWS):
        rows = slice(y0, min(y0 + _ROWS, image.shape[0]))
        for name, plane in (("SCI", image.data), ("VAR", image.variance), ("MASK", image.mask)):
            file.planes[name][rows] = plane[rows]
    science = fits.Header([("EXTNAME", "SCI", "calibrated frame"), ("BUNIT", "electron")])
    science.update(header)
    science.update(_facts(found, exposure))
    variance = fits.Header([("EXTNAME", "VAR", "variance of SCI"), ("BUNIT", "electron**2")])
    file.finish({"SCI": science, "VAR": variance, "MASK": mask_header()}, threads)


def _facts(found: Calibrated, exposure: Exposure) -> dict[str, tuple[Any, str]]:
    cards: dict[str, tuple[Any, str]] = {
        "GAIN": (1.0, "[electron/electron] applied"),
        "RDNOISE": (round(found.image.read_noise, 4), "[electron]"),
        "CALIBVER": (found.figures["calibration"] or "none", ""),
    }
    if np.isfinite(found.image.saturation):
        cards["SATURATE"] = (found.image.saturation, "[electron] least of all amplifiers")
    if exposure.mid_mjd is not None:
        cards["MJD-MID"] = (exposure.mid_mjd, "[d] UTC, middle of the exposure")
    return cards


def master_file(path: Path, shape: tuple[int, int]) -> PlaneFile:
    """A new master with VALUE and VAR."""
    return PlaneFile(path, shape, {"VALUE": FLOAT, "VAR": FLOAT}, {"VALUE": _MORE_CARDS})


def finish_master(file: PlaneFile, unit: str, what: str, cards: Mapping[str, Any], threads: Executor) -> None:
    """Write the headers; unit: of VALUE, '' for none."""
    value = fits.Header([("EXTNAME", "VALUE", what), *([("BUNIT", unit)] if unit else [])])
    value.update(cards)
    variance = fits.Header([("EXTNAME", "VAR", "variance of VALUE"), *([("BUNIT", f"({unit})**2")] if unit else [])])
    file.finish({"VALUE": value, "VAR": variance}, threads)
