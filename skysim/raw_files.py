"""A simulated raw frame as files: the frame, and beside it what is true of it and what a site would know beforehand.

    frame.fits      the raw frame, as the instrument would write it
    sources.ecsv    every star on the chip
    truth.json      everything that the frame was made from
    truth.wcs       header-only FITS: the true WCS of the trimmed chip
    catalog.fits    the site's star catalog of the field
    preview.png     on request: the raw frame in grey

Nothing here is read back by the simulation.
"""

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from photometry.defects import robust_sigma
from photometry.preview import write_preview
from skysim.detector.chip import Chip
from skysim.exposure import ZERO_POINTS, begins, julian_year
from skysim.frame import mjd, write_frame
from skysim.raw import RawFrame, Sources
from skysim.raw_header import pointing_cards, raw_header
from skysim.settings import FrameSettings
from skysim.sphere.catalog import site_catalog
from skysim.sphere.stars import stars_around

CATALOG_MARGIN_DEGREES = 1.0  # that the catalog reaches beyond the chip
PREVIEW_PIXELS = 1_340

_SOURCE_DIGITS = {"x": 4, "y": 4, "electrons": 2, "mag": 4, "ra": 8, "dec": 8}
_SOURCE_UNITS = {"x": "pix", "y": "pix", "electrons": "electron", "mag": "mag", "ra": "deg", "dec": "deg"}


def write_exposure(frame: RawFrame, chip: Chip, settings: FrameSettings, folder: Path, preview: bool) -> None:
    """Write all files of one frame into a folder that is there."""
    header = raw_header(chip.instrument, "object", begins(settings), settings.seconds, settings.filter)
    header.extend(pointing_cards(chip.instrument.pointing, settings.ra_deg, settings.dec_deg))
    write_frame(folder / "frame.fits", frame.raw, header)
    _source_table(frame.sources).write(folder / "sources.ecsv", format="ascii.ecsv", overwrite=True)
    (folder / "truth.json").write_text(json.dumps(_truth(frame, chip, settings), indent=1) + "\n")
    fits.PrimaryHDU(header=frame.projection.header()).writeto(folder / "truth.wcs", overwrite=True)
    radius = frame.projection.radius_degrees + CATALOG_MARGIN_DEGREES
    around = stars_around(settings.seed, settings.ra_deg, settings.dec_deg, radius)
    site_catalog(around, frame.band, settings.seed).write(folder / "catalog.fits", overwrite=True)
    if preview:
        preview_raw(folder / "preview.png", frame.raw)


def preview_raw(path: Path, raw: NDArray[np.uint16]) -> None:
    """A PNG of a raw frame as it is, black where it is darkest: levels of amplifiers show."""
    sample = raw[:: max(1, raw.shape[0] // 500), :: max(1, raw.shape[1] // 500)].astype(np.float32)
    level = np.float32(np.percentile(sample, 1))
    write_preview(path, raw - level, max(robust_sigma(sample.ravel()), 1.0), PREVIEW_PIXELS)


def _source_table(sources: Sources) -> Table:
    table = Table(asdict(sources))
    for name, unit in _SOURCE_UNITS.items():
        table[name] = np.round(table[name], _SOURCE_DIGITS[name])
        table[name].unit = unit
    return table


def _truth(frame: RawFrame, chip: Chip, settings: FrameSettings) -> dict[str, Any]:
    """Everything that a reader of the frame may want to compare with."""
    full_well = chip.full_well(frame.bias.level)
    return {
        "instrument": chip.instrument.name,
        "settings": asdict(settings),
        "band": frame.band,
        "mjd_start": mjd(begins(settings)),
        "mjd_mid": mjd(begins(settings) + timedelta(seconds=settings.seconds / 2)),
        "year": julian_year(begins(settings)),
        "zero_point": ZERO_POINTS[frame.band],
        "sky_electrons": frame.sky_electrons,
        "projection": asdict(frame.projection),
        "psf": asdict(frame.psf),
        "cloud_waves": frame.cloud.waves.tolist(),
        "satellites": [asdict(satellite) for satellite in frame.satellites],
        "cosmic_rays": frame.cosmic_rays,
        "amplifiers": [
            {
                "name": port.name, "gain": port.gain, "read_noise": port.read_noise, "saturation": port.saturation,
                "linearity": port.linearity, "bias_adu": float(level), "full_well_electrons": float(well),
            }
            for port, level, well in zip(chip.ports, frame.bias.level, full_well, strict=True)
        ],
        "crosstalk": None if chip.instrument.crosstalk is None else chip.instrument.crosstalk.tolist(),
        "row_seconds": chip.instrument.row_seconds,
        "stars": int(frame.sources.x.size),
    }  # fmt: skip
