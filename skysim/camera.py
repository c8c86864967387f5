"""How light is recorded: photon noise, cosmic rays, bleeding, read-out noise, digitisation, bad columns.

Frames come as a site's first reduction leaves them: bias subtracted, flat, no overscan.  Away from sources and defects
the variance is then sky / gain + (read_noise / gain)^2 in adu^2.  The camera knows nothing of the sky: it is given
electrons.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from skysim.optics import FloatArray, Pixels

COLUMN_EVERY_PIXELS = 512  # one bad column for so many of a frame's width
GOOD_FROM = 0.25  # of the width from either edge there are none: a telescope points with the good part
_TRACK_STEP_PIXELS = 0.5


@dataclass(frozen=True)
class BadColumn:
    """A column of the detector that reads the same whatever falls on it, from row `start` upwards."""

    column: int
    start: int
    reads_adu: int


@dataclass(frozen=True)
class Camera:
    """A CCD.  `saturation_adu` is the header's word: pixels at or above it measure nothing."""

    shape: tuple[int, int]
    gain: float = 1.5  # electrons per adu
    read_noise: float = 6.0  # electrons
    full_well: float = 90_000.0  # electrons
    saturation_adu: float = 59_000.0  # below full_well / gain by more than the read-out noise
    cosmic_rays_per_megapixel: float = 3.0  # a 60 s exposure of 9 um pixels, at 3 cm^-2 min^-1
    bad_columns: tuple[BadColumn, ...] = ()


def camera(shape: tuple[int, int], seed: int) -> Camera:
    """A camera with half of its bad columns dead and half hot, none in its middle; the same in every frame of one seed."""
    rng = np.random.default_rng([seed, 10])
    ny, nx = shape
    columns = []
    for i in range(max(2, nx // COLUMN_EVERY_PIXELS)):
        from_edge = int(rng.uniform(0.02, GOOD_FROM) * nx)
        column = from_edge if rng.uniform() < 0.5 else nx - 1 - from_edge
        columns.append(BadColumn(column, int(rng.integers(0, ny // 2)), 0 if i % 2 else 65_535))
    return Camera(shape, bad_columns=tuple(columns))


@njit(cache=True, boundscheck=False)
def _bleed_column(column: FloatArray, full_well: float) -> None:  # pragma: no cover  (compiled)
    """Charge above the full well runs up and down the column, half each way, to the next pixels with room."""
    excess = np.maximum(column - full_well, 0.0)
    np.minimum(column, full_well, column)
    for step in (1, -1):
        carried = 0.0
        for i in range(column.size):
            k = i if step == 1 else column.size - 1 - i
            carried += excess[k] / 2
            taken = min(carried, full_well - column[k])
            column[k] += taken
            carried -= taken


def bleed(electrons: Pixels, full_well: float) -> None:
    """Spread charge above the full well along its column, in place; charge is kept, except what runs off the edge."""
    for col in np.flatnonzero((electrons > full_well).any(axis=0)):
        column = electrons[:, col].astype(np.float64)
        _bleed_column(column, full_well)
        electrons[:, col] = column


def add_cosmic_rays(electrons: Pixels, count: int, rng: np.random.Generator) -> None:
    """Add `count` straight tracks of unsmeared charge, in place."""
    ny, nx = electrons.shape
    for _ in range(count):
        x, y, angle = rng.uniform(0, nx), rng.uniform(0, ny), rng.uniform(0, math.pi)
        length, per_step = 1 + rng.exponential(5), rng.uniform(200, 3_500)
        for t in np.arange(0, length, _TRACK_STEP_PIXELS):
            col, row = int(x + t * math.cos(angle)), int(y + t * math.sin(angle))
            if 0 <= col < nx and 0 <= row < ny:
                electrons[row, col] += per_step


def record(camera: Camera, electrons: FloatArray, rng: np.random.Generator) -> NDArray[np.uint16]:
    """The frame (ny, nx), adu, that the camera makes of the expected electrons of each pixel (ny, nx)."""
    charge = rng.poisson(electrons).astype(np.float64)
    add_cosmic_rays(charge, int(rng.poisson(camera.cosmic_rays_per_megapixel * charge.size / 1e6)), rng)
    bleed(charge, camera.full_well)
    charge += camera.read_noise * rng.standard_normal(charge.shape)
    adu = np.clip(np.rint(charge / camera.gain), 0, 65_535).astype(np.uint16)
    for bad in camera.bad_columns:
        adu[bad.start :, bad.column] = bad.reads_adu
    return adu


def record_average(camera: Camera, electrons: FloatArray, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """The average (ny, nx), adu, of `count` equal exposures free of cosmic rays, not digitised again.

    The sum of Poisson variates is one Poisson variate, so the exposures need not be made one by one.  Its effective gain is
    count * gain, its effective read-out noise sqrt(count) * read_noise.
    """
    charge = rng.poisson(electrons * count) / count
    bleed(charge, camera.full_well)
    charge += camera.read_noise / math.sqrt(count) * rng.standard_normal(charge.shape)
    adu = (charge / camera.gain).astype(np.float32)
    for bad in camera.bad_columns:
        adu[bad.start :, bad.column] = bad.reads_adu
    return adu
