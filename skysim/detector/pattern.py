"""What is the same in every frame of one camera: flat field, dark current, bias structure.

All follow from the camera's seed, band by band, so that no map of the whole chip need be kept.
"""

import math
from dataclasses import dataclass

import numpy as np

from skysim.detector.chip import Chip, Light
from skysim.optics import FloatArray
from skysim.seeds import Purpose, bands, stream

PIXEL_RESPONSE_RMS = 0.008
VIGNETTING = 0.12  # of the light, from the middle to the corners
DUST_DEPTHS = (0.01, 0.04)
DUST_RADII_PIXELS = (12.0, 45.0)
PIXELS_PER_RING, FEWEST_RINGS = 2_000_000, 3

DARK_RATE, DARK_SPREAD = 0.05, 0.4  # electrons / s, and the spread of its logarithm
HOT_FRACTION = 3e-4
HOT_RATES = (1.0, 200.0)  # electrons / s

BIAS_ADU, BIAS_SPREAD_ADU = 1_000.0, 60.0  # over the amplifiers
BIAS_COLUMN_ADU = 0.6
BIAS_RAMP_ADU, BIAS_RAMP_ROWS = 3.0, 150.0  # where reading begins


@dataclass(frozen=True)
class Ring:
    """The shadow of a grain of dust on a window: `depth` of the light is missing between half the radius and the radius."""

    x: float
    y: float
    radius: float
    depth: float


@dataclass(frozen=True)
class Bias:
    """level (n,), columns (n, w) in reading order and ramp (n, h) in reading order, adu, of n amplifiers of h x w."""

    level: FloatArray
    columns: FloatArray
    ramp: FloatArray


def dust(shape: tuple[int, int], camera: int) -> tuple[Ring, ...]:
    """The camera's rings."""
    rng = stream(camera, Purpose.DUST)
    ny, nx = shape
    count = FEWEST_RINGS + ny * nx // PIXELS_PER_RING
    return tuple(
        Ring(rng.uniform(0, nx), rng.uniform(0, ny), rng.uniform(*DUST_RADII_PIXELS), rng.uniform(*DUST_DEPTHS))
        for _ in range(count)
    )


def flat_band(shape: tuple[int, int], camera: int, number: int, rows: slice) -> Light:
    """The response (rows, nx) float32 of band `number`; its mean over the chip is 1, but for the dust."""
    ny, nx = shape
    size = rows.stop - rows.start
    response = stream(camera, Purpose.FLAT, number).standard_normal((size, nx), dtype=np.float32)
    response *= np.float32(PIXEL_RESPONSE_RMS)
    response += 1
    u2 = (2 * np.arange(nx, dtype=np.float32) / (nx - 1) - 1) ** 2
    v2 = (2 * np.arange(rows.start, rows.stop, dtype=np.float32) / (ny - 1) - 1) ** 2
    response *= 1 - np.float32(VIGNETTING) * ((u2[None, :] + v2[:, None]) / 2 - np.float32(1 / 3))
    for ring in dust(shape, camera):
        _shade(response, ring, rows)
    return response


def flat(shape: tuple[int, int], camera: int) -> Light:
    """The whole of the response."""
    return np.concatenate([flat_band(shape, camera, i, rows) for i, rows in bands(shape[0])])


def dark_band(shape: tuple[int, int], camera: int, number: int, rows: slice) -> Light:
    """The dark current (rows, nx) float32, electrons / s, of band `number`: most pixels near `DARK_RATE`, a few hot."""
    rng = stream(camera, Purpose.DARK, number)
    size = (rows.stop - rows.start) * shape[1]
    rate = rng.standard_normal(size, dtype=np.float32)
    rate *= np.float32(DARK_SPREAD)
    np.exp(rate, out=rate)
    rate *= np.float32(DARK_RATE)
    hot = rng.integers(0, size, rng.poisson(HOT_FRACTION * size))
    rate[hot] = np.exp(rng.uniform(math.log(HOT_RATES[0]), math.log(HOT_RATES[1]), hot.size))
    return np.asarray(rate.reshape(-1, shape[1]), np.float32)


def dark(shape: tuple[int, int], camera: int) -> Light:
    """The whole of the dark current, electrons / s."""
    return np.concatenate([dark_band(shape, camera, i, rows) for i, rows in bands(shape[0])])


def bias_of(chip: Chip, camera: int) -> Bias:
    """The camera's bias structure."""
    rng = stream(camera, Purpose.BIAS)
    n, (h, w) = len(chip.ports), chip.port_shape
    level = BIAS_ADU + BIAS_SPREAD_ADU * rng.standard_normal(n)
    columns = BIAS_COLUMN_ADU * rng.standard_normal((n, w))
    ramp = BIAS_RAMP_ADU * rng.standard_normal((n, 1)) * np.exp(-np.arange(h) / BIAS_RAMP_ROWS)
    return Bias(level, columns, ramp)


def _shade(response: Light, ring: Ring, rows: slice) -> None:
    """Multiply the part of a ring that lies in the band."""
    y0, y1 = max(rows.start, math.floor(ring.y - ring.radius)), min(rows.stop, math.ceil(ring.y + ring.radius) + 1)
    x0, x1 = max(0, math.floor(ring.x - ring.radius)), min(response.shape[1], math.ceil(ring.x + ring.radius) + 1)
    if y0 >= y1 or x0 >= x1:
        return
    r = np.hypot(np.arange(y0, y1)[:, None] - ring.y, np.arange(x0, x1)[None, :] - ring.x) / ring.radius
    shadow = np.clip(np.minimum(10 * (1 - r), 10 * (r - 0.5)), 0, 1)  # soft at both edges
    response[y0 - rows.start : y1 - rows.start, x0:x1] *= (1 - ring.depth * shadow).astype(np.float32)
