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
from numpy.typing import NDArray

from photometry import cards, defects
from photometry.astrometry.quirks import repaired_wcs
from photometry.calibration import NO_MASTERS, Calibrated, calibrate, load_masters, mark_blemishes
from photometry.calibration.prepare import filter_of
from photometry.detector import Detector, detector
from photometry.errors import BadFrameError, EnvironmentFailedError
from photometry.fits_map import Pixels, open_pixels
from photometry.frame import Frame, FrameLimits, guess_gain, mark_defects, read_frame, require_signal, wcs_of
from photometry.headers import header_of, trimmed
from photometry.image import Image
from photometry.instrument import Instrument, load_instrument
from photometry.measure import overrides
from photometry.pointing import pointing_of
from photometry.settings import Settings
from photometry.telescope import Telescope
from photometry.times import Exposure, exposure_of

_SAMPLE_ROWS = 256  # of a frame, that show whether there is anything on it


@dataclass(frozen=True)
class Acquired:
    """A frame, when it was exposed, through which filter ('any': nobody says), and by which instrument (None: not known).

    pointing: ra, dec by the header, degrees, None: it does not say; calibrated: whether it was raw; noise_known:
    whether its variance is that of the calibration; figures: of that, for the manifest.
    """

    frame: Frame
    exposure: Exposure
    filter: str
    camera: Instrument | None
    pointing: tuple[float, float] | None
    calibrated: bool
    noise_known: bool
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
    when = exposure_of(frame.header)  # in electrons, or of no known instrument: the usual cards
    quirks = camera.wcs_quirks if camera else ()
    wcs = repaired_wcs(frame.header, quirks) if quirks else frame.wcs
    header = header_of(frame.header, when, telescope.site, camera)
    band = filter_of(camera, frame.header)
    pointing = pointing_of(frame.header, camera.pointing if camera else None)
    frame = replace(frame, header=header, wcs=wcs)
    return Acquired(frame, when, band, camera, pointing, calibrated=False, noise_known=False, figures={})


def _calibrated(
    path: Path, pixels: Pixels, camera: Instrument, telescope: Telescope, limits: FrameLimits, threads: Executor
) -> Acquired:
    notes = list(pixels.notes)
    _require_exposed(pixels)
    ny, nx = (int(side) for side in pixels.values.shape)
    chip = detector(camera, pixels.header, (ny, nx), notes)
    when, band = exposure_of(pixels.header, camera.time), filter_of(camera, pixels.header)
    try:
        found, has_mask = _electrons(pixels, chip, telescope.masters, when, band, threads)
        image = found.image
        rows = slice(None, None, max(1, len(image.data) // _SAMPLE_ROWS))
        sample = image.data[rows][image.mask[rows] == 0]
        if not chip.gain_known:
            image = _with_gain(image, sample, notes)
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
    own = trimmed(pixels.header, chip)
    wcs = repaired_wcs(own, camera.wcs_quirks) if camera.wcs_quirks else wcs_of(own, notes)
    header = header_of(own, when, telescope.site, camera)
    frame = Frame(image, header, wcs, os.fsdecode(path), tuple(notes))
    pointing = pointing_of(pixels.header, camera.pointing)
    figures = found.figures | marks.figures()
    return Acquired(frame, when, band, camera, pointing, calibrated=True, noise_known=chip.gain_known, figures=figures)


def _electrons(
    pixels: Pixels, chip: Detector, masters: Path | None, when: Exposure, band: str, threads: Executor
) -> tuple[Calibrated, bool]:
    """The frame in electrons, and whether the masters knew the detector's bad pixels."""
    opened = load_masters(masters, chip) if masters is not None else contextlib.nullcontext(NO_MASTERS)
    with opened as loaded:
        return calibrate(pixels, chip, loaded, when.seconds, band, threads), loaded.mask is not None


def _require_exposed(pixels: Pixels) -> None:
    """BadFrameError where the counts are one value: masters would make a pattern of it."""
    ny = pixels.values.shape[0]
    rows = range(0, ny, max(1, ny // _SAMPLE_ROWS))
    require_signal(np.concatenate([pixels.values[y : y + 1] for y in rows]).astype(np.float32))


def _with_gain(image: Image, sample: NDArray[np.float32], notes: list[str]) -> Image:
    """An image whose adu were taken for electrons, with the gain that its sky shows."""
    gain, how = guess_gain(sample, image.read_noise)
    notes.append(f"no gain is known: {how}")
    data = image.data * np.float32(gain)
    variance = np.maximum(data, np.float32(0)) + np.float32(image.read_noise**2)
    return replace(image, data=data, variance=np.maximum(variance, np.float32(gain)), saturation=image.saturation * gain)
