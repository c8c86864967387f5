"""The first look at a frame, in one pass over its rows: its sky, its noise, its stars, what is saturated.

Bertin & Arnouts 1996 for the mesh of clipped cells.
"""

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photometry.background import THIRD_DIFFERENCE_GAIN, pedestal_of
from photometry.loops.flag import SATURATED, find_bit, flag_unusable
from photometry.loops.lines import line_means, off_neighbours
from photometry.loops.mesh import measure_cells
from photometry.loops.peaks import HALF, find_peaks
from photometry.loops.sharp import EXCESS_SIGMA, HOT_SHARE
from photometry.mesh import Mesh, mended
from photometry.subtraction.plate import Plate, Stuck
from photometry.subtraction.raw import Bits, Plane, Raw
from photometry.subtraction.sides import STAR, Exposure

MESH_PIXELS = 64
PEAK_SIGMA = 5.0
MOST_PEAKS = 12  # of a cell
CALIBRATOR_SIGMA = 30.0  # of a peak that says what a star looks like
FEWEST_CALIBRATORS = 15
FRACTION_PERCENTILE, FRACTION_MARGIN = 25.0, 0.5  # as photometry.cosmics has them
BLANK_SIGMA = 4.0
FEWEST_DIFFERENCES = 1000
LINE_NEIGHBOURS = 9  # lines that a line is compared with
LINE_SIGMA = 7.0
LINE_PIXEL_SIGMA = 0.5  # of a pixel: what a fault is at least
LINE_STEP = 4  # every fourth line says how much lines vary


@dataclass(frozen=True)
class _Band:
    """What one row of cells shows."""

    level: Plane
    sigma: Plane
    variance: Plane
    peaks: NDArray[np.float32]
    saturated: NDArray[np.int64]
    third: Plane
    columns: Plane
    rows: Plane
    flagged: int


def survey(raw: Raw, threads: Executor) -> tuple[Exposure, float]:
    """Look at every row once: the frame ready to be subtracted, and the share of its pixels that mean nothing.

    Its stars are unsaturated peaks, the brightest first.
    """
    my = max(raw.shape[0] // MESH_PIXELS, 1)
    bands = list(threads.map(lambda j: _look(raw, j, my), range(my)))
    level = mended(np.stack([band.level for band in bands]))
    sigma = mended(np.stack([band.sigma for band in bands]))
    pixel_noise = _clipped_width(np.concatenate([band.third for band in bands])) / np.sqrt(THIRD_DIFFERENCE_GAIN)
    if raw.variance is None:
        noise = _modelled(raw, level, sigma, pixel_noise)
    else:
        noise = mended(np.stack([band.variance for band in bands]))
    peaks = np.concatenate([band.peaks for band in bands])
    fractions = _fractions(peaks)
    stuck = _stuck(np.stack([band.columns for band in bands]), np.concatenate([band.rows for band in bands]))
    plate = Plate(raw, Mesh(level, MESH_PIXELS), Mesh(noise, MESH_PIXELS), fractions, stuck)
    hidden = sum(band.flagged for band in bands) / (raw.shape[0] * raw.shape[1])
    return Exposure(plate, _stars(peaks, fractions), np.concatenate([band.saturated for band in bands])), hidden


def _look(raw: Raw, j: int, my: int) -> _Band:
    ny, nx = raw.shape
    y0, y1 = j * MESH_PIXELS, ny if j == my - 1 else (j + 1) * MESH_PIXELS
    b0, b1 = max(y0 - HALF, 0), min(y1 + HALF, ny)
    whole = slice(0, nx)
    data, bits = raw.counts(slice(b0, b1), whole)
    flagged = flag_unusable(data, bits, raw.saturation)
    own = slice(y0 - b0, y1 - b0)
    level, sigma = (np.empty(max(nx // MESH_PIXELS, 1), np.float32) for _ in range(2))
    measure_cells(data[own], bits[own], MESH_PIXELS, level, sigma)
    peaks = find_peaks(data, bits, level, sigma, MESH_PIXELS, y0 - b0, y1 - y0, PEAK_SIGMA, MOST_PEAKS)
    peaks[:, 1] += y0
    hit = find_bit(bits[own], int(SATURATED)) if flagged else np.zeros((0, 2), np.int64)
    hit[:, 0] += y0
    variance = _blank_variance(raw, data, bits, level, own, b0)
    columns, rows = np.empty(nx, np.float32), np.empty((y1 - y0, level.size), np.float32)
    line_means(data[own], level, sigma, MESH_PIXELS, columns, rows)
    third = _third(data[own][0], bits[own][0], level, sigma)
    return _Band(level, sigma, variance, peaks, hit, third, columns, rows, int(np.count_nonzero(bits[own])))


def _blank_variance(raw: Raw, data: Plane, bits: Bits, level: Plane, rows: slice, b0: int) -> Plane:
    """The given variance of each cell's blank sky: what is left of it without the light of sources."""
    out, spread = np.full(level.size, np.nan, np.float32), np.empty(level.size, np.float32)
    if raw.variance is None:
        return out
    given = raw.variance[b0 : b0 + data.shape[0]].astype(np.float32)[rows]
    light = np.maximum(data[rows] - _across(level, data.shape[1]), 0)
    bad = bits[rows] | (~(np.isfinite(given) & (given > 0))).astype(np.uint8)
    measure_cells(given - light / np.float32(raw.gain), bad, MESH_PIXELS, out, spread)
    return out


def _across(cells: Plane, nx: int) -> Plane:
    """(nx,): each pixel its cell's value."""
    return cells[np.minimum(np.arange(nx) // MESH_PIXELS, cells.size - 1)]


def _third(row: Plane, bits: Bits, level: Plane, sigma: Plane) -> Plane:
    """Third differences along a row where four pixels are blank: blind to levels, slopes, curvatures, nearly to stars."""
    blank = (np.abs(row - _across(level, row.size)) < BLANK_SIGMA * _across(sigma, row.size)) & (bits == 0)
    third = row[:-3] - 3 * row[1:-2] + 3 * row[2:-1] - row[3:]
    return np.asarray(third[blank[:-3] & blank[1:-2] & blank[2:-1] & blank[3:]], np.float32)


def _stuck(columns: Plane, rows: Plane) -> Stuck | None:
    """Lines that stand off their neighbours over several cells in a row; columns (cells, nx), rows (ny, cells)."""
    bad_columns, bad_rows = _long(columns), _long(np.ascontiguousarray(rows.T)).T
    return Stuck(bad_columns, bad_rows, MESH_PIXELS) if bad_columns.any() or bad_rows.any() else None


def _long(means: Plane) -> NDArray[np.bool_]:
    """(cells, lines): which are off in two cells running; a cell more at each end, for a fault begins within one."""
    out = np.zeros(means.shape, bool)
    if means.shape[0] < 2 or means.shape[1] < 2 * LINE_NEIGHBOURS:
        return out
    off = np.empty_like(means)
    off_neighbours(means, LINE_NEIGHBOURS, off)
    low, high = np.percentile(off[:, ::LINE_STEP], (25.0, 75.0)).tolist()
    limit = max(LINE_SIGMA * float(high - low) / 1.349, LINE_PIXEL_SIGMA)
    for side in (off > limit, off < -limit):
        running = side[:-1] & side[1:]
        if not running.any():
            continue
        for shift in (-1, 0, 1, 2):
            first, last = max(shift, 0), min(len(running) + shift, len(out))
            out[first:last] |= running[first - shift : last - shift]
    return out


def _clipped_width(values: Plane) -> float:
    """Standard deviation, clipped; NaN of too few."""
    if values.size < FEWEST_DIFFERENCES:
        return float("nan")
    width = float(np.std(values))
    for _ in range(5):
        values = values[np.abs(values) < 4 * width]
        width = float(np.std(values))
    return width


def _modelled(raw: Raw, level: Plane, sigma: Plane, pixel_noise: float) -> Plane:
    """Variance of blank sky by gain and read noise, where they explain what neighbouring pixels show."""
    measured = float(np.fmin(pixel_noise, float(np.median(sigma))))
    pedestal, _ = pedestal_of(raw.gain, raw.read_noise, float(np.median(level)), measured)
    variance = (np.maximum(level, 0) - pedestal) / raw.gain + (raw.read_noise / raw.gain) ** 2
    floor = max(0.1 * float(np.median(variance)), float(np.finfo(np.float32).tiny))
    return np.asarray(np.maximum(variance, floor), np.float32)


def _fractions(peaks: NDArray[np.float32]) -> NDArray[np.float32]:
    """The least that opposite neighbours have of a star's peak, by the frame's own bright ones; zeros: too few to tell."""
    bright = peaks[peaks[:, 3] > CALIBRATOR_SIGMA * peaks[:, 4], 5:9]
    bright = bright[(bright > HOT_SHARE).all(axis=1)]  # what is as sharp as a hot pixel says nothing about stars
    if len(bright) < FEWEST_CALIBRATORS:
        return np.zeros(4, np.float32)
    return np.asarray(FRACTION_MARGIN * np.percentile(bright, FRACTION_PERCENTILE, axis=0), np.float32)


def _stars(peaks: NDArray[np.float32], fractions: NDArray[np.float32]) -> NDArray[np.void]:
    """The peaks that are not sharper than a star, the brightest first."""
    error = EXCESS_SIGMA * peaks[:, 4] / np.maximum(peaks[:, 3], 1e-20)
    real = (peaks[:, 5:9] > (1 - error[:, None]) * fractions - error[:, None]).all(axis=1)
    chosen = peaks[real]
    out = np.zeros(len(chosen), STAR)
    for name, column in (("x", 0), ("y", 1), ("flux", 2), ("peak", 3)):
        out[name] = chosen[:, column]
    return out[np.argsort(-out["flux"], kind="stable")]
