"""Values on a mesh of square cells, spread to pixels; and what each cell says of its sky."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Bits = NDArray[np.uint8]

CLIP_SIGMA = 2.5
CLIPPED_WIDTH = 0.9546  # standard deviation of a normal distribution that is cut off at CLIP_SIGMA
FAR = np.float32(1e18)  # off every level; its square is still a number
ROW_STEP = 2  # every second row for a cell's mean: .02 sigmas of a pixel, and the difference is levelled again later
SAMPLE_STEP = 8  # every eighth pixel of every eighth row for a cell's first median
FEWEST_SHARE = 0.1  # of a cell's pixels that must be usable


class Place(NamedTuple):
    """A rectangle's first pixel in the frame, and the side of a mesh's cells."""

    y0: int
    x0: int
    side: int


@njit(nogil=True, cache=True)
def value_at(nodes: Plane, place: Place, y: int, x: int) -> np.float32:
    """The mesh, as `add_mesh` has it, at a pixel of a rectangle."""
    my, mx = nodes.shape
    middle = (place.side - 1) / 2
    down = min(max((y + place.y0 - middle) / place.side, 0.0), my - 1.0)
    across = min(max((x + place.x0 - middle) / place.side, 0.0), mx - 1.0)
    j, i = min(int(down), max(my - 2, 0)), min(int(across), max(mx - 2, 0))
    below, beside = min(j + 1, my - 1), min(i + 1, mx - 1)
    p, q = np.float32(down - j), np.float32(across - i)
    left = nodes[j, i] + p * (nodes[below, i] - nodes[j, i])
    right = nodes[j, beside] + p * (nodes[below, beside] - nodes[j, beside])
    return np.float32(left + q * (right - left))


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def add_mesh(out: Plane, nodes: Plane, side: int, y0: int, x0: int, factor: float) -> None:
    """Add factor times the mesh to a rectangle whose first pixel is (y0, x0) of the frame.

    nodes (my, mx) are the values at the cells' middles: linear between them, constant beyond the outermost.
    """
    my, mx = nodes.shape
    ny, nx = out.shape
    line = np.empty(mx, np.float32)
    scale = np.float32(factor)
    middle = (side - 1) / 2
    for y in range(ny):
        place = min(max((y + y0 - middle) / side, 0.0), my - 1.0)
        j = min(int(place), max(my - 2, 0))
        share = np.float32(place - j)
        last = min(j + 1, my - 1)
        for i in range(mx):
            line[i] = scale * (nodes[j, i] + share * (nodes[last, i] - nodes[j, i]))
        for i in range(-1, mx):  # from one cell's middle to the next the values are a ramp
            left, right = line[max(i, 0)], line[min(i + 1, mx - 1)]
            begin = 0 if i < 0 else min(max(int(np.ceil(i * side + middle)) - x0, 0), nx)
            end = nx if i == mx - 1 else min(max(int(np.ceil((i + 1) * side + middle)) - x0, 0), nx)
            if begin < end:
                step = (right - left) / np.float32(side)
                _add_ramp(out[y, begin:end], left + step * np.float32(begin + x0 - (i * side + middle)), step)


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _add_ramp(row: Plane, start: np.float32, step: np.float32) -> None:
    for x in range(row.size):
        row[x] += start + step * np.float32(x)


@njit(nogil=True, cache=True)
def measure_cells(data: Plane, bits: Bits, side: int, level: Plane, sigma: Plane) -> None:
    """The sky of each cell of a row of cells: clipped mean and standard deviation; NaN where too few pixels are usable.

    data, bits (rows, nx); level, sigma (cells,).  The last cell reaches to the end of the rows.
    """
    rows, nx = data.shape
    values = np.empty((rows // SAMPLE_STEP + 1) * (2 * side // SAMPLE_STEP + 1), np.float32)
    for i in range(level.size):
        x0 = i * side
        x1 = nx if i == level.size - 1 else x0 + side
        count, looked = 0, 0
        for y in range(0, rows, SAMPLE_STEP):
            for x in range(x0 + y // SAMPLE_STEP % SAMPLE_STEP, x1, SAMPLE_STEP):
                looked += 1
                if bits[y, x] == 0:
                    values[count] = data[y, x]
                    count += 1
        level[i], sigma[i] = np.nan, np.nan
        if count < FEWEST_SHARE * looked or count < 3:
            continue
        middle = np.median(values[:count])
        for k in range(count):
            values[k] = abs(values[k] - middle)
        width = max(np.float32(1.4826) * np.median(values[:count]), np.float32(1e-20))
        for _ in range(2):
            middle, width = _clipped(data, bits, x0, x1, middle, width)
        level[i], sigma[i] = middle, width


@njit(nogil=True, cache=True)
def _clipped(data: Plane, bits: Bits, x0: int, x1: int, middle: float, width: float) -> tuple[float, float]:
    """Mean and standard deviation of what lies within CLIP_SIGMA of a first guess."""
    count, total, square = 0.0, 0.0, 0.0
    line = np.empty(x1 - x0, np.float32)
    for y in range(0, data.shape[0], ROW_STEP):
        flagged = np.uint8(0)
        for x in range(x0, x1):
            flagged |= bits[y, x]
        row = data[y, x0:x1]
        if flagged:
            for x in range(x0, x1):
                line[x - x0] = FAR if bits[y, x] else data[y, x]
            row = line
        n, s, q = _near(row, np.float32(middle), np.float32(CLIP_SIGMA * width))
        count += float(n)
        total += float(s)
        square += float(q)
    if count < 3:
        return middle, width
    mean = total / count
    spread = np.sqrt(max(square / count - mean * mean, 1e-40)) / CLIPPED_WIDTH
    return middle + mean, spread


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _near(row: Plane, centre: np.float32, limit: np.float32) -> tuple[np.float32, np.float32, np.float32]:
    """How many lie within the limit of the centre, and the sums of their offsets and of the squares."""
    n, s, q = np.float32(0), np.float32(0), np.float32(0)
    for x in range(row.size):
        off = row[x] - centre
        weight = np.float32(1) if off * off < limit * limit else np.float32(0)  # several at once only where it is multiplied
        n += weight
        s += weight * off
        q += weight * off * off
    return n, s, q
