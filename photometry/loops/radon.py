"""Sums along straight lines, all at once: the fast discrete Radon transform.

Brady 1998, SIAM J. Comput. 27, 107; for trails: Nir, Zackay & Ofek 2018, AJ 156, 229.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.loops.mesh import Place, value_at

Plane = NDArray[np.float32]

BIN_CLIP = np.float32(4.0)  # sigmas of a cell: what more a star's core has does not count


@njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def bin_residual(data: Plane, bits: NDArray[np.uint16], hide: int, sigma: Plane, side: int, clip: float, out: Plane) -> None:
    """Cells of side x side pixels, in units of their noise: sums of data / sigma, each pixel clipped, over side.

    data, bits (h, w), h = side len(out); sigma (n,): of a pixel's noise, for each cell of a row; pixels with a bit of `hide`
    are 0.
    """
    bad, most = np.uint16(hide), np.float32(clip)
    ny, nx = out.shape
    for j in range(ny):
        out[j] = 0
        for y in range(j * side, (j + 1) * side):
            row, flags = data[y], bits[y]
            for i in range(nx):
                scale, total = np.float32(1) / sigma[i], np.float32(0)
                for x in range(i * side, (i + 1) * side):
                    value = min(max(row[x] * scale, -most), most)
                    total += value if flags[x] & bad == 0 else np.float32(0)
                out[j, i] += total
        for i in range(nx):
            out[j, i] = min(max(out[j, i] / np.float32(side), -BIN_CLIP), BIN_CLIP)


@njit(nogil=True, cache=True)
def sum_lines(cells: Plane) -> Plane:
    """(n, nx + n): [d, x + n] the sum along the line from (row 0, column x) to (row n - 1, column x + d).

    cells (ny, nx); n: the least power of two from ny on; rows beyond ny and columns outside are 0.  Each step joins the sums
    over h rows with those over the next h: n (nx + n) log2 n additions.
    """
    ny, nx = cells.shape
    n = 1
    while n < ny:
        n *= 2
    width = nx + n
    now, then = np.zeros((n, width), np.float32), np.zeros((n, width), np.float32)
    now[:ny, n:] = cells
    h = 1
    while h < n:
        for strip in range(0, n, 2 * h):
            for d in range(2 * h):
                half, shift = d // 2, (d + 1) // 2
                lower, upper, out = now[strip + half], now[strip + h + half], then[strip + d]
                for x in range(width - shift):
                    out[x] = lower[x] + upper[x + shift]
                for x in range(width - shift, width):
                    out[x] = lower[x]
        now, then = then, now
        h *= 2
    return now


@njit(nogil=True, cache=True)
def sample_strip(
    data: Plane, bits: NDArray[np.uint16], hide: int, sky: Plane, side: int, sigma: float, ends: NDArray[np.float64],
    half: int, step: int, out: Plane,
) -> None:  # fmt: skip
    """A strip along a line, in sigmas of a pixel: out (k, 2 half + 1), medians of `step` pixels along it; NaN: no pixel.

    A median, so that a star on the line is not taken for it.  sky: the level on a mesh with cells of `side`, taken away;
    ends: x0, y0, x1, y1; offsets count to the left of the way from the first end to the second.
    """
    ny, nx = data.shape
    bad, place, values = np.uint16(hide), Place(0, 0, side), np.empty(step, np.float32)
    length = np.hypot(ends[2] - ends[0], ends[3] - ends[1])
    ux, uy = (ends[2] - ends[0]) / length, (ends[3] - ends[1]) / length
    for k in range(out.shape[0]):
        for t in range(2 * half + 1):
            count = 0
            for s in range(k * step, (k + 1) * step):
                x = int(np.rint(ends[0] + ux * s - uy * (t - half)))
                y = int(np.rint(ends[1] + uy * s + ux * (t - half)))
                if 0 <= x < nx and 0 <= y < ny and bits[y, x] & bad == 0:
                    values[count] = (data[y, x] - value_at(sky, place, y, x)) / sigma
                    count += 1
            out[k, t] = np.median(values[:count]) if count else np.nan


@njit(nogil=True, cache=True)
def flag_strip(bits: NDArray[np.uint16], ends: NDArray[np.float64], half: float, bit: int) -> int:
    """Set the bit in all pixels within `half` of the line between the ends (x0, y0, x1, y1); how many."""
    ny, nx = bits.shape
    new = np.uint16(bit)
    dx, dy = ends[2] - ends[0], ends[3] - ends[1]
    length = np.hypot(dx, dy)
    ux, uy = dx / length, dy / length
    flagged = 0
    for y in range(max(int(min(ends[1], ends[3]) - half), 0), min(int(max(ends[1], ends[3]) + half) + 2, ny)):
        # along a row the strip is an interval round where the line is
        reach = half / max(abs(uy), 1e-9)
        middle = ends[0] + (y - ends[1]) * ux / uy if abs(uy) > 1e-9 else 0.5 * (ends[0] + ends[2])
        low, high = max(middle - reach, 0.0), min(middle + reach, nx - 1.0)
        low, high = max(low, min(ends[0], ends[2]) - half), min(high, max(ends[0], ends[2]) + half)
        for x in range(int(np.ceil(low)), int(high) + 1):
            along = (x - ends[0]) * ux + (y - ends[1]) * uy
            across = (y - ends[1]) * ux - (x - ends[0]) * uy
            if abs(across) <= half and -half <= along <= length + half:
                bits[y, x] |= new
                flagged += 1
    return flagged
