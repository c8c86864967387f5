"""Pixels that no calibration mends, from the masters: dead, hot, unlike those round them.

A hot pixel that is only brighter is subtracted and stays; it is masked where its charge in the masters' own exposures has
more noise than the sky of a short exposure could hide.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from photometry.calibration.masters import Master
from photometry.detector import Detector
from photometry.mask import Bit

Plane = NDArray[np.float32]

CELL = 16  # pixels a side, whose median a pixel is held against
NOISE_TIMES = 10.0  # the noise of one exposure, by which a pixel of the bias or the dark may stand off
DEAD, BRIGHT = 0.7, 1.4  # of the response of those round it


def odd_bias(master: Master, detector: Detector) -> NDArray[np.uint8]:
    """(ny, nx) Bit.BAD: off by more than ten times the read noise."""
    limit = NOISE_TIMES * min(max(channel.read_noise, 1.0) / channel.gain for channel in detector.amplifiers)
    return _where(master, detector.chip_shape, lambda value, local: np.abs(value - local) > limit)


def odd_dark(master: Master, detector: Detector, seconds: float) -> NDArray[np.uint8]:
    """(ny, nx) Bit.BAD: hot by more than ten times the noise of an exposure of so many seconds."""
    gain = min(channel.gain for channel in detector.amplifiers)
    read = max(channel.read_noise for channel in detector.amplifiers)

    def hot(value: Plane, local: Plane) -> NDArray[np.bool_]:
        charge = (value - local) * np.float32(seconds * gain)
        noise = np.maximum(local, 0) * np.float32(seconds * gain) + np.float32(max(read, 1.0) ** 2)
        return np.asarray(charge > NOISE_TIMES * np.sqrt(noise), np.bool_)

    return _where(master, detector.chip_shape, hot)


def odd_flat(master: Master) -> NDArray[np.uint8]:
    """(ny, nx) Bit.BAD: dead, or brighter than any response."""
    rows, columns = master.value.shape
    return _where(master, (rows, columns), lambda value, local: (value < DEAD * local) | (value > BRIGHT * local))


def _where(master: Master, shape: tuple[int, int], odd: Callable[[Plane, Plane], NDArray[np.bool_]]) -> NDArray[np.uint8]:
    out = np.zeros(shape, np.uint8)
    for y0 in range(0, shape[0], CELL):
        rows = slice(y0, min(y0 + CELL, shape[0]))
        value, _ = master.read(rows)
        edges = range(0, shape[1], CELL)
        local = np.array([np.median(value[:, x : x + CELL]) for x in edges], np.float32)
        out[rows] = odd(value, np.repeat(local, CELL)[None, : shape[1]]) * np.uint8(Bit.BAD)
    return out
