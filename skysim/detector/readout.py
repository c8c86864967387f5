"""From charge to a raw frame: what is read at the same time is worked on at the same time.

For the pixels (n,) that n amplifiers read at one moment, each at the same distance from its corner,

    true = electrons / gain,    true = adu (1 + c1 adu + c2 adu^2),    adu_v += sum over a of m[v, a] adu_a,
    raw = round(adu + bias + drift + read noise),  0 to 65535.

The overscan is what is read when a row is empty: bias, drift and noise alone.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from skysim.detector.chip import LARGEST_ADU, Chip, Light, read_order
from skysim.detector.pattern import Bias
from skysim.optics import FloatArray
from skysim.seeds import Purpose, stream

ROWS_AT_A_TIME = 64
FRAME_DRIFT_ADU = 3.0  # of an amplifier's level, from frame to frame
ROW_DRIFT_ADU, ROW_DRIFT_ROWS = 0.7, 300.0  # of a row's level along the read-out: rms, and how many rows it remembers
_NEWTON_STEPS = 4


def drift(chip: Chip, seed: int, key: tuple[int, ...]) -> FloatArray:
    """(n, rows) adu by which the bias of each row is off in one frame."""
    rng = stream(seed, Purpose.BIAS_DRIFT, *key)
    n, rows = len(chip.ports), chip.port_shape[0]
    keep = math.exp(-1 / ROW_DRIFT_ROWS)
    kicks = ROW_DRIFT_ADU * rng.standard_normal((n, rows))
    kicks[:, 1:] *= math.sqrt(1 - keep**2)  # stationary from the first row on
    walk = lfilter([1.0], [1.0, -keep], kicks, axis=1)
    return np.asarray(walk + FRAME_DRIFT_ADU * rng.standard_normal((n, 1)), np.float64)


def read_out(electrons: Light, chip: Chip, bias: Bias, seed: int, key: tuple[int, ...]) -> NDArray[np.uint16]:
    """The raw frame (uint16, adu) of the charge (ny, nx); pixels of the raw frame that no amplifier delivers are 0."""
    raw = np.zeros(chip.raw_shape, np.uint16)
    pixels = [read_order(electrons[port.chip], port.corner) for port in chip.ports]
    images = [read_order(raw[port.data], port.corner) for port in chip.ports]
    overscans = [None if port.overscan is None else read_order(raw[port.overscan], port.corner) for port in chip.ports]
    level = bias.level[:, None] + drift(chip, seed, key)
    noise_adu = (chip.read_noise / chip.gain).astype(np.float32)
    for i, start in enumerate(range(0, chip.port_shape[0], ROWS_AT_A_TIME)):
        rows = slice(start, min(start + ROWS_AT_A_TIME, chip.port_shape[0]))
        rng = stream(seed, Purpose.READOUT, *key, i)
        adu = signal(np.stack([part[rows] for part in pixels]), chip)
        adu += (level[:, rows] + bias.ramp[:, rows]).astype(np.float32)[:, :, None]
        adu += bias.columns.astype(np.float32)[:, None, :]
        for image, port, sigma in zip(images, adu, noise_adu, strict=True):
            image[rows] = _digitise(port, sigma, rng)
        for overscan, port, sigma in zip(overscans, level, noise_adu, strict=True):
            if overscan is not None:
                empty = np.repeat(port[rows].astype(np.float32)[:, None], overscan.shape[1], axis=1)
                overscan[rows] = _digitise(empty, sigma, rng)
    return raw


def signal(electrons: Light, chip: Chip) -> Light:
    """(n, rows, w) adu above the bias of charge read at the same time, noise apart."""
    adu = electrons / chip.gain.astype(np.float32)[:, None, None]
    if chip.linearity.any():
        adu = _unlinear(adu, chip.linearity.astype(np.float32))
    if chip.instrument.crosstalk is not None:
        talk = chip.instrument.crosstalk.astype(np.float32) @ adu.reshape(len(adu), -1)
        adu += talk.reshape(adu.shape)
    return adu


def _unlinear(true: Light, linearity: Light) -> Light:
    """The adu with adu (1 + c1 adu + c2 adu^2) = true, by Newton's method from adu = true."""
    first, second = linearity.T[:, :, None, None]
    adu = true.copy()
    for _ in range(_NEWTON_STEPS):
        adu -= (adu * (1 + adu * (first + second * adu)) - true) / (1 + adu * (2 * first + 3 * second * adu))
    return adu


def _digitise(adu: Light, noise: np.float32, rng: np.random.Generator) -> NDArray[np.uint16]:
    read = rng.standard_normal(adu.shape, dtype=np.float32)
    read *= noise
    read += adu
    return np.clip(np.rint(read), 0, LARGEST_ADU).astype(np.uint16)
