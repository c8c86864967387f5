"""What a frame shows of its detector's faults: saturation, bad columns, dead and single hot pixels.

Rather too few than too many: a star's pixel is never taken for a fault.  Cosmic rays that hit several pixels
need the PSF and are `photometry.detection`'s neighbour `photometry.cosmics`' business.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, maximum_filter, median_filter, minimum_filter

from photometry.grow import grow
from photometry.mask import Bit

_RING = np.ones((3, 3), np.bool_)
_RING[1, 1] = False

# Saturation: this many pixels within this fraction of the brightest are a plateau, which no noise makes.
_PLATEAU_PIXELS = 5
_PLATEAU_FRACTION = 1e-3
# Ceilings of 12, 14, 15 and 16 bit converters; a plateau elsewhere is full well.
CEILINGS = (4095, 16383, 32767, 65535)
# A plateau at the sky's own level is no saturation but a frame of little range.
_ABOVE_SKY_SIGMA = 30.0

# Bad columns: medians of blocks of rows against the neighbouring columns, this far, over this many blocks in
# a run.
_BLOCK_ROWS = 32
_COLUMN_WINDOW = 9
_COLUMN_SIGMA = 7.0
_COLUMN_PIXEL_SIGMA = 0.5
_COLUMN_RUN = 4

_DEAD_SIGMA = 10.0
_HOT_SIGMA = 100.0
# The best neighbour of a star's peak has more than this fraction of it down to FWHM 1.0 pixel.
_HOT_FRACTION = 0.05


def robust_sigma(values: NDArray[np.float32]) -> float:
    """The standard deviation of a normal distribution with the same interquartile range (at least tiny)."""
    if values.size == 0:
        return float(np.finfo(np.float32).tiny)
    low, high = np.percentile(values, (25.0, 75.0))
    return max(float(high - low) / 1.349, float(np.finfo(np.float32).tiny))


def find_saturation(data: NDArray[np.float32], usable: NDArray[np.bool_], *, whole_numbers: bool) -> float:
    """The level at which pixels saturate, from the frame: where the brightest form a plateau.

    Without a plateau: the converter's ceiling above the brightest pixel for whole numbers, else infinity.
    """
    values = data[usable]
    brightest = float(values.max())
    sample = values[:: max(1, values.size // 100_000)]
    sky, sigma = float(np.median(sample)), robust_sigma(sample)
    plateau = brightest - _PLATEAU_FRACTION * abs(brightest)
    if int(np.count_nonzero(values >= plateau)) >= _PLATEAU_PIXELS and brightest > sky + _ABOVE_SKY_SIGMA * sigma:
        return plateau
    if whole_numbers:
        return float(next((ceiling for ceiling in CEILINGS if ceiling >= brightest), np.inf))
    return float("inf")


def saturated(data: NDArray[np.float32], level: float) -> NDArray[np.bool_]:
    """Pixels at or above the level, and their neighbours, into which the charge bled."""
    high = data >= level
    return grow(high, 1) if high.any() else high


def bad_columns(data: NDArray[np.float32], usable: NDArray[np.bool_], sigma: float) -> NDArray[np.bool_]:
    """Columns, or long parts of them, that stand off their neighbours; `sigma` is the pixel noise.  Transposed: rows."""
    ny, nx = data.shape
    bad = np.zeros(data.shape, np.bool_)
    blocks = ny // _BLOCK_ROWS
    columns = usable.any(axis=0)
    if blocks < _COLUMN_RUN or columns.sum() < 2 * _COLUMN_WINDOW:
        return bad
    # Every other row is enough for a median and halves the time.
    rows = data[: blocks * _BLOCK_ROWS : 2].reshape(blocks, _BLOCK_ROWS // 2, nx)
    medians = np.median(rows, axis=1)[:, columns]
    off = medians - median_filter(medians, size=(1, _COLUMN_WINDOW), mode="mirror")
    limit = max(_COLUMN_SIGMA * robust_sigma(off), _COLUMN_PIXEL_SIGMA * sigma)
    stuck = np.zeros((blocks, nx), np.bool_)
    for side in (off > limit, off < -limit):
        stuck[:, columns] |= _long_runs(side)
    if not stuck.any():
        return bad
    edges = np.minimum(np.arange(ny) // _BLOCK_ROWS, blocks - 1)
    bad[:] = stuck[edges]
    return bad


def _long_runs(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The runs of at least _COLUMN_RUN along axis 0: opening by a vertical bar.

    One more at each end, for a fault begins and ends within a block whose median does not show it.
    """
    bar = (_COLUMN_RUN, 1)
    shrunk = minimum_filter(flags.astype(np.uint8), size=bar, mode="constant", origin=(0, 0))
    grown = maximum_filter(shrunk, size=bar, mode="constant", origin=(-1 + _COLUMN_RUN % 2, 0))
    return np.asarray(binary_dilation(grown, np.ones((3, 1), np.bool_)), np.bool_)


def odd_pixels(data: NDArray[np.float32], sigma: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(dead, hot): single pixels far under all neighbours, and far above without a star's shoulders.

    A pixel like these is met at most once in 10^9 on a good detector; stars down to FWHM 1 pixel pass.
    """
    lowest = minimum_filter(data, footprint=_RING, mode="mirror")
    dead = data < lowest - _DEAD_SIGMA * sigma
    hot = np.zeros(data.shape, np.bool_)
    candidates = np.argwhere(data > lowest + _HOT_SIGMA * sigma)
    ny, nx = data.shape
    inner = candidates[(candidates > 0).all(axis=1) & (candidates < (ny - 1, nx - 1)).all(axis=1)]
    if len(inner):
        y, x = inner.T
        ring = np.stack([data[y + j, x + i] for j, i in np.argwhere(_RING) - 1])
        base = ring.min(axis=0)
        alone = ring.max(axis=0) - base < _HOT_FRACTION * (data[y, x] - base)
        hot[y[alone], x[alone]] = True
    return dead, hot


def mark(mask: NDArray[np.uint16], where: NDArray[np.bool_], bit: Bit) -> int:
    """Set the bit in place; the number of pixels."""
    mask[where] |= np.uint16(bit)
    return int(np.count_nonzero(where))
