"""One frame from a file as the photometry takes it: calibrated where its instrument is known, its header set right.

Guarantee: the `Frame` is as `photometry.frame.read_frame` has it, in electrons where it was calibrated; its header holds
clean cards only, with the times of the exposure by the instrument's rule (DATE-OBS is UTC then, and the start) and the
place of the site.  The WCS is the header's own, the instrument's quirks set right.
"""

import contextlib
import os
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from photometry import cards, defects
from photometry.astrometry.quirks import repaired_wcs
from photometry.calibration import NO_MASTERS, Calibrated, calibrate, load_masters, mark_blemishes
from photometry.calibration.prepare import filter_of
from photometry.detector import Detector, detector
from photometry.errors import BadFrameError, EnvironmentFailedError
from photometry.fits_map import Pixels, open_pixels
from photometry.frame import Frame, FrameLimits, mark_defects, read_frame, require_signal, wcs_of
from photometry.instrument import Instrument, load_instrument
from photometry.measure import overrides
from photometry.observatory import Site, time_cards
from photometry.pointing import pointing_of
from photometry.settings import Settings
from photometry.telescope import Telescope
from photometry.times import Exposure, exposure_of

_SAMPLE_ROWS = 256  # of a frame, that show whether there is anything on it


@dataclass(frozen=True)
class Acquired:
    """A frame, when it was exposed, through which filter ('any': nobody says), and by which instrument (None: not known).

    pointing: ra, dec by the header, degrees, None: it does not say; calibrated: whether it was raw; figures: of that, for
    the manifest.
    """

    frame: Frame
    exposure: Exposure
    filter: str
    camera: Instrument | None
    pointing: tuple[float, float] | None
    calibrated: bool
    figures: dict[str, Any]


def acquire(path: Path, telescope: Telescope, settings: Settings, limits: FrameLimits, threads: Executor) -> Acquired:
    """Read a frame; calibrate it if an instrument is named and the frame is not in electrons yet.

    BadFrameError: the frame's fault, with the numbers.  EnvironmentFailedError: the masters, an I/O error, memory.
    BadInputError: no such instrument.
    """
    camera = load_instrument(telescope.instrument) if telescope.instrument is not None else None
    if camera is not None:
        with open_pixels(path, limits.max_megapixels) as pixels:
            if cards.unit(pixels.header) != "electron":
                return _calibrated(path, pixels, camera, telescope, limits, threads)
    frame = read_frame(path, limits, overrides(settings))
    when = exposure_of(frame.header, camera.time if camera else None)
    quirks = camera.wcs_quirks if camera else ()
    wcs = repaired_wcs(frame.header, quirks) if quirks else frame.wcs
    header = _clean(frame.header, when, telescope.site)
    band = filter_of(camera, frame.header)
    pointing = pointing_of(frame.header, camera.pointing if camera else None)
    return Acquired(replace(frame, header=header, wcs=wcs), when, band, camera, pointing, calibrated=False, figures={})


def _calibrated(
    path: Path, pixels: Pixels, camera: Instrument, telescope: Telescope, limits: FrameLimits, threads: Executor
) -> Acquired:
    notes = list(pixels.notes)
    ny, nx = (int(side) for side in pixels.values.shape)
    chip = detector(camera, pixels.header, (ny, nx), notes)
    when, band = exposure_of(pixels.header, camera.time), filter_of(camera, pixels.header)
    try:
        found, has_mask = _electrons(pixels, chip, telescope.masters, when, band, threads)
        image = found.image
        sample = image.data[:: max(1, len(image.data) // _SAMPLE_ROWS)]
        require_signal(sample)
        if not has_mask:
            mark_defects(image.data, image.mask, defects.robust_sigma(sample), notes)
        marks = mark_blemishes(image, threads)
    except MemoryError as error:
        raise EnvironmentFailedError("not enough memory for the frame") from error
    hidden = float(np.mean(image.mask != 0))
    if hidden > limits.max_masked_fraction:
        raise BadFrameError(
            f"too little to see: {hidden:.0%} of the pixels are unusable, {limits.max_masked_fraction:.0%} are allowed"
        )
    notes += found.notes
    wcs = repaired_wcs(pixels.header, camera.wcs_quirks) if camera.wcs_quirks else wcs_of(pixels.header, notes)
    header = _clean(pixels.header, when, telescope.site)
    frame = Frame(image, header, wcs, os.fsdecode(path), tuple(notes))
    pointing = pointing_of(pixels.header, camera.pointing)
    return Acquired(frame, when, band, camera, pointing, calibrated=True, figures=found.figures | marks.figures())


def _electrons(
    pixels: Pixels, chip: Detector, masters: Path | None, when: Exposure, band: str, threads: Executor
) -> tuple[Calibrated, bool]:
    """The frame in electrons, and whether the masters knew the detector's bad pixels."""
    opened = load_masters(masters, chip) if masters is not None else contextlib.nullcontext(NO_MASTERS)
    with opened as loaded:
        return calibrate(pixels, chip, loaded, when.seconds, band, threads), loaded.mask is not None


def _clean(header: fits.Header, when: Exposure, site: Site | None) -> fits.Header:
    """What products take over, with the times as they are known."""
    clean = fits.Header()
    for name, value in (cards.provenance(header) | cards.wcs_cards(header)).items():
        clean[name] = value
    known = time_cards(when, site)
    if "DATE-BEG" in known:
        clean["DATE-OBS"] = (known["DATE-BEG"][0], "start of the exposure")
        clean["MJD-OBS"] = (when.start_mjd, "[d] start of the exposure")
    if when.seconds is not None:
        clean["EXPTIME"] = (when.seconds, "[s]")
    for name, card in known.items():
        clean[name] = card
    return clean
