"""Calibration frames of one camera: bias, dark, twilight flat, with the fixed patterns that its frames of the sky have."""

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from skysim.air import add_sky
from skysim.detector.chip import Chip
from skysim.detector.pattern import bias_of
from skysim.detector.readout import read_out
from skysim.exposure import READ_SECONDS, band_of
from skysim.frame import NIGHT_START, write_frame
from skysim.raw import BIAS, DARK, FLAT, detect
from skysim.raw_header import raw_header
from skysim.seeds import Purpose, stream
from skysim.settings import CalibrationSettings

STARTS = NIGHT_START - timedelta(days=1)
FLAT_SECONDS = 5.0
FLAT_OF_FULL_WELL = 0.45  # of the first flat; twilight fades from each to the next by
FLAT_FADES = 0.92
FLAT_GRADIENT = 0.015
_KINDS = {BIAS: "bias", DARK: "dark", FLAT: "flat"}


def write_calibrations(chip: Chip, settings: CalibrationSettings, folder: Path) -> list[Path]:
    """Write bias-NNNN.fits, dark-NNNN.fits and flat-NNNN.fits into a folder that is there; their paths.

    BadInputError: the instrument has no such filter.
    """
    band_of(chip.instrument, settings.filter)
    paths, begins = [], STARTS
    for kind, number, seconds in _plan(settings):
        path = folder / f"{_KINDS[kind]}-{number + 1:04d}.fits"
        _write(path, chip, kind, begins, seconds, settings.filter, calibration(chip, settings.camera, kind, number, seconds))
        paths.append(path)
        begins += timedelta(seconds=seconds + READ_SECONDS)
    return paths


def calibration(chip: Chip, camera: int, kind: int, number: int, seconds: float) -> NDArray[np.uint16]:
    """One raw frame of a kind (BIAS, DARK, FLAT of `skysim.raw`)."""
    bias, key = bias_of(chip, camera), (kind, number)
    full_well = chip.full_well(bias.level)
    electrons = np.zeros(chip.shape, np.float32)
    if kind == FLAT:
        level = FLAT_OF_FULL_WELL * float(full_well.min()) * FLAT_FADES**number
        add_sky(electrons, level, FLAT_GRADIENT, stream(camera, Purpose.SKY, *key).uniform(0, 2 * math.pi))
    if kind != BIAS:
        detect(electrons, chip, seconds, camera, camera, key, full_well)
    return read_out(electrons, chip, bias, camera, key)


def _plan(settings: CalibrationSettings) -> Iterator[tuple[int, int, float]]:
    """Kind, number and seconds of each frame."""
    for kind, count, seconds in (
        (BIAS, settings.biases, 0.0),
        (DARK, settings.darks, settings.dark_seconds),
        (FLAT, settings.flats, FLAT_SECONDS),
    ):
        yield from ((kind, number, seconds) for number in range(count))


def _write(
    path: Path, chip: Chip, kind: int, begins: datetime, seconds: float, filter_name: str, raw: NDArray[np.uint16]
) -> None:
    name = filter_name if kind == FLAT else None
    write_frame(path, raw, raw_header(chip.instrument, _KINDS[kind], begins, seconds, name))
