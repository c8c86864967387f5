"""The level that an amplifier adds to each row, from its overscan.

Each row's level is the clipped mean of its overscan without the columns next to the data, into which a bright star trails.
A row that stands far off its neighbours, where such a trail reaches through all columns, takes theirs.  Rows are averaged
with their neighbours only where that leaves less noise: where the rows' own scatter is less than the read noise leaves in a
mean of so few pixels.  The noise of a level is the same for a whole row, a stripe, which hurts faint sources more than
its variance tells: 20 columns at 8 electrons leave 2, an average over 31 rows .3.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.defects import robust_sigma

Plane = NDArray[np.float32]

TRAILED_COLUMNS = 3  # next to the data, at most a fifth of all: passed over
CLIP_SIGMA = 4.0
NEIGHBOURS = 63  # rows that a row is compared with
OFF_SIGMA = 5.0
SMOOTHED_ROWS = 31


@dataclass(frozen=True)
class Level:
    """rows (h,) float32, adu: to be subtracted; variance, adu^2: of one row's level; noise, adu: of one overscan pixel.

    smoothed: rows were averaged with their neighbours; mended: how many rows took their neighbours' level.
    """

    rows: NDArray[np.float32]
    variance: float
    noise: float
    smoothed: bool
    mended: int


def measure_level(strip: Plane) -> Level:
    """From one amplifier's overscan (rows, columns), raw adu, the column next to the data first."""
    used = strip[:, min(TRAILED_COLUMNS, strip.shape[1] // 5) :]
    middle = np.median(used, axis=1)
    off = used - middle[:, None]
    noise = robust_sigma(off.ravel()) * np.sqrt(used.shape[1] / max(used.shape[1] - 1, 1))
    good = np.abs(off) <= max(CLIP_SIGMA * noise, 1.0)
    level = middle + np.sum(off * good, axis=1) / np.maximum(good.sum(axis=1), 1)
    near = ndimage.median_filter(level, NEIGHBOURS, mode="nearest")
    scatter = robust_sigma(level - near)
    wrong = np.abs(level - near) > max(OFF_SIGMA * scatter, 1.0)
    level[wrong] = near[wrong]
    read = noise**2 / used.shape[1]
    own = max(scatter**2 - read, 0.0)
    smoothed = own < read
    if smoothed:
        level = ndimage.uniform_filter1d(level, SMOOTHED_ROWS, mode="nearest")
    variance = own + read / SMOOTHED_ROWS if smoothed else read
    return Level(level.astype(np.float32), float(variance), float(noise), bool(smoothed), int(np.count_nonzero(wrong)))
