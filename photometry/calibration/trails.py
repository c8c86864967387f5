"""Satellites and aircraft: straight lines that reach far over the frame.

The frame without its sky is binned in units of its noise, every cell clipped so that stars count little, rows and columns
levelled so that the detector's own lines do not count; sums along all lines then show where one stands out.  What stands out
is held against the full pixels: a trail is brighter than both its sides along most of its length, and nearly as bright
everywhere.  A line exactly along rows or columns is the detector's and never a trail.
"""

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.defects import robust_sigma
from photometry.loops.radon import flag_strip, sample_strip, sum_lines
from photometry.mask import Bit
from photometry.mesh import Mesh

Plane = NDArray[np.float32]
Bits = NDArray[np.uint16]

CELLS = 1024  # at most, along the longer side
LEAST_SIDE, MOST_SIDE = 3, 11  # pixels of a cell
BROAD = 9  # cells: what is broader is no line
MEDIAN_ROWS = 128  # of cells, at a time
LINE_SIGMA = 10.0  # of a sum along a line
SHORTEST = 0.12  # of the cells along the longer side
MOST_TRAILS = 8
MOST_DOUBTS = 3  # lines that stand out and are no trails, after which nothing more is looked for
STRAIGHT_CELLS = 1.5  # that a line must leave a row or column by
SIDES = 12  # pixels that are compared on each side
STEP = 24  # pixels along a trail that are looked at together
MOST = 2.5  # sigmas of a pixel that count for where a line is
PROFILE_SIGMA = 6.0
FAINT = 0.3  # sigmas of a pixel: where a trail ends
CONTINUOUS = 0.7  # of the pieces must be brighter than both sides
EVEN = 0.4  # the median piece over the mean one: a few stars in a row are no trail
HIDDEN = int(Bit.BAD | Bit.SATURATED | Bit.EDGE)


@dataclass(frozen=True)
class Trail:
    """ends: x0, y0, x1, y1 pixels; width: pixels that are masked; peak: of its profile, sigmas of a pixel's noise."""

    ends: tuple[float, float, float, float]
    width: float
    peak: float


@dataclass(frozen=True)
class Residual:
    """A frame's data (ny, nx) and mask, its sky and the noise of a blank pixel."""

    data: Plane
    bits: Bits
    sky: Mesh
    sigma: float


def cell_side(shape: tuple[int, int]) -> int:
    """Pixels of a cell."""
    return min(max(-(-max(shape) // CELLS), LEAST_SIDE), MOST_SIDE)


def find_trails(cells: Plane, frame: Residual, side: int, threads: Executor) -> list[Trail]:
    """The trails of a frame, brightest first.

    cells: the frame as `photometry.loops.radon.bin_residual` bins it, cells of `side` pixels.
    """
    plane = _levelled(cells, threads)
    found: list[Trail] = []
    doubts = 0
    while len(found) < MOST_TRAILS and doubts < MOST_DOUBTS:
        ends, sigmas = _strongest(plane, threads)
        if sigmas < LINE_SIGMA:
            break
        trail = _confirm(frame, _pixels(ends, side, frame.data.shape), side)
        if trail is None:
            doubts += 1
        else:
            found.append(trail)
        _erase(plane, ends, trail, side)
    return sorted(found, key=lambda trail: -trail.peak)


def mark_trails(bits: Bits, trails: list[Trail]) -> int:
    """Set Bit.TRAIL in place; the number of pixels."""
    return sum(flag_strip(bits, np.array(trail.ends), trail.width / 2, int(Bit.TRAIL)) for trail in trails)


def _levelled(cells: Plane, threads: Executor) -> Plane:
    """Without what is broad, and without what whole rows and columns have in common."""
    plane = cells - ndimage.uniform_filter(_medians(cells, threads), BROAD, mode="nearest")
    for axis in (1, 0, 1):
        plane -= np.median(plane, axis=axis, keepdims=True)
    return np.asarray(plane, np.float32)


def _medians(cells: Plane, threads: Executor) -> Plane:
    """Of the BROAD x BROAD cells round each."""
    reach = BROAD // 2
    padded = np.pad(cells, reach, mode="edge")

    def band(first: int) -> Plane:
        part = padded[first : first + MEDIAN_ROWS + 2 * reach]
        return np.asarray(ndimage.median_filter(part, BROAD)[reach:-reach, reach:-reach], np.float32)

    return np.concatenate(list(threads.map(band, range(0, len(cells), MEDIAN_ROWS))))


def _strongest(plane: Plane, threads: Executor) -> tuple[NDArray[np.float64], float]:
    """The line whose sum stands out most: its ends x0, y0, x1, y1 in cells, and by how many sigmas."""

    def of(transposed: bool, mirrored: bool) -> tuple[NDArray[np.float64], float]:
        part = plane.T if transposed else plane
        ends, sigmas = _strongest_of(np.ascontiguousarray(part[:, ::-1] if mirrored else part))
        if mirrored:
            ends[[0, 2]] = part.shape[1] - 1 - ends[[0, 2]]
        return ends[[1, 0, 3, 2]] if transposed else ends, sigmas

    found = threads.map(of, (False, False, True, True), (False, True, False, True))
    return max(found, key=lambda line: line[1])


def _strongest_of(plane: Plane) -> tuple[NDArray[np.float64], float]:
    """Of the lines that lean to the right by at most 45 degrees."""
    ny, nx = plane.shape
    sums = sum_lines(plane)
    n = len(sums)
    d, x = np.arange(n)[:, None], np.arange(-n, nx)[None, :]
    # rows in which the line from (0, x) to (n - 1, x + d) is on the plane
    slope = np.maximum(d / (n - 1), 1e-9)
    first = np.maximum(-x / slope, 0)
    last = np.minimum(np.minimum((nx - 1 - x) / slope, ny - 1), n - 1)
    length = np.where((x > -1) | (d > 0), last - first + 1, 0)
    usable = (length >= SHORTEST * max(ny, nx)) & (slope * length > STRAIGHT_CELLS)
    if not usable.any():
        return np.zeros(4), 0.0
    score = np.where(usable, sums / np.sqrt(np.maximum(length, 1)), 0).astype(np.float32)
    width = robust_sigma(score[usable][::7])
    k, i = np.unravel_index(int(score.argmax()), score.shape)
    tilt, start = float(slope[k, 0]), float(x[0, i])
    y0, y1 = float(first[k, i]), float(last[k, i])
    return np.array([start + tilt * y0, y0, start + tilt * y1, y1]), float(score[k, i] / width)


def _pixels(ends: NDArray[np.float64], side: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """From cells to pixels."""
    limit = np.array([shape[1] - 1, shape[0] - 1] * 2, float)
    return np.clip(ends * side + (side - 1) / 2, 0, limit)


def _confirm(frame: Residual, ends: NDArray[np.float64], side: int) -> Trail | None:
    """The line as a trail with its own ends and width; None where it is none."""
    half = 2 * side + SIDES + 4
    strip = _strip(frame, ends, half)
    ends = _aligned(strip, ends, half)
    strip = _strip(frame, ends, half)
    profile = _mean(strip, axis=0)
    error = max(robust_sigma(profile[np.abs(np.arange(-half, half + 1)) > 6]), 1e-3)
    middle = half - 3 + int(profile[half - 3 : half + 4].argmax())
    peak = float(profile[middle])
    if peak < PROFILE_SIGMA * error:
        return None
    reach = _reach(profile, middle, max(2 * error, FAINT))
    inner = strip[:, max(middle - reach, 0) : middle + reach + 1]
    left, right = strip[:, max(middle - reach - SIDES, 0) : middle - reach], strip[:, middle + reach + 1 :][:, :SIDES]
    if min(left.shape[1], right.shape[1]) < SIDES // 2:
        return None
    contrast = _mean(inner, axis=1) - np.maximum(_mean(left, axis=1), _mean(right, axis=1))
    first, last = _run(contrast)
    run = contrast[first:last]
    mean = float(np.mean(run)) if len(run) else 0.0
    long = (last - first) * STEP >= SHORTEST * max(frame.data.shape)
    if not long or mean <= 0 or np.mean(run > 0) < CONTINUOUS or np.median(run) < EVEN * mean:
        return None
    way = (ends[2:] - ends[:2]) / np.hypot(*(ends[2:] - ends[:2]))
    shift = np.array([-way[1], way[0]]) * (middle - half)
    a, b = ends[:2] + way * first * STEP + shift, ends[:2] + way * last * STEP + shift
    return Trail((float(a[0]), float(a[1]), float(b[0]), float(b[1])), 2.0 * reach + 3.0, peak)


def _strip(frame: Residual, ends: NDArray[np.float64], half: int) -> Plane:
    pieces = max(int(np.hypot(*(ends[2:] - ends[:2]))) // STEP, 1)
    out = np.empty((pieces, 2 * half + 1), np.float32)
    sample_strip(frame.data, frame.bits, HIDDEN, frame.sky.nodes, frame.sky.side, frame.sigma, ends, half, STEP, out)
    return out


def _aligned(strip: Plane, ends: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """The ends moved across the line to where the sum along it is largest."""
    clean = ndimage.uniform_filter1d(np.nan_to_num(np.clip(strip, -MOST, MOST)), 3, axis=1)
    k = np.arange(len(clean)) / max(len(clean) - 1, 1)
    reach = half - SIDES // 2
    tries = np.arange(-reach, reach + 1)
    a, b = np.meshgrid(tries, tries, indexing="ij")
    total = np.zeros(a.shape)
    for share, row in zip(k, clean, strict=True):
        total += row[np.rint(a + (b - a) * share).astype(np.intp) + half]
    i, j = np.unravel_index(int(total.argmax()), total.shape)
    way = (ends[2:] - ends[:2]) / np.hypot(*(ends[2:] - ends[:2]))
    left = np.array([-way[1], way[0]])
    return np.concatenate([ends[:2] + left * tries[i], ends[2:] + left * tries[j]])


def _mean(strip: Plane, axis: int) -> NDArray[np.float32]:
    """Of what is not NaN; 0 without any."""
    seen = np.isfinite(strip)
    total = np.where(seen, strip, 0).sum(axis=axis)
    return np.asarray(total / np.maximum(seen.sum(axis=axis), 1), np.float32)


def _reach(profile: NDArray[np.float32], middle: int, limit: float) -> int:
    """Pixels from the middle to where both wings are below the limit."""
    most = min(middle, len(profile) - 1 - middle) - SIDES // 2
    reach = 1
    while reach < most and max(profile[middle - reach], profile[middle + reach]) > limit:
        reach += 1
    return reach


def _run(contrast: NDArray[np.float32]) -> tuple[int, int]:
    """The run of pieces that stands out most: the largest sum of what is above half the common contrast."""
    level = 0.5 * float(np.median(contrast[contrast > 0])) if (contrast > 0).any() else 0.0
    best, where, start, total = 0.0, (0, 0), 0, 0.0
    for i, value in enumerate(np.clip(contrast, -3 * level, 3 * level) - level):
        total += float(value)
        if total <= 0:
            start, total = i + 1, 0.0
        elif total > best:
            best, where = total, (start, i + 1)
    return where


def _erase(plane: Plane, ends: NDArray[np.float64], trail: Trail | None, side: int) -> None:
    """What was looked at is not looked at again."""
    ny, nx = plane.shape
    bits = np.zeros((ny, nx), np.uint16)
    flag_strip(bits, ends, 2.0, 1)
    if trail is not None:
        flag_strip(bits, (np.array(trail.ends) - (side - 1) / 2) / side, trail.width / side / 2 + 2.0, 1)
    plane[bits != 0] = 0
