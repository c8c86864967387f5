"""A PSF at a star's own place: quintic B-splines of its polynomial stamps, moved by a fraction of a pixel.

A stamp that is sampled once a pixel is interpolated so to 0.4 mmag in flux and 0.0005 px in place for a fwhm of 2.25 pixels
and more, to 1.4 mmag at 2.0; cubic splines miss by ten times as much.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Block = NDArray[np.float32]
Weights = tuple[np.float32, np.float32, np.float32, np.float32, np.float32, np.float32]
TAPS = 6
REACH = 3  # coefficients that a value takes on either side


class Spline(NamedTuple):
    """planes (terms, k, k) float32: B-spline coefficients of polynomial stamps, the middle of the star on that of the stamp;
    powers (2, terms): of u, v = 2 (x, y) / (n - 1) - 1 over a frame of ny, nx pixels; half: of the stamps, beyond which all
    is 0.
    """

    planes: Block
    powers: NDArray[np.int64]
    ny: int
    nx: int
    half: int


class Brush(NamedTuple):
    """What a star is drawn with: block (c, c) its coefficients; work (2, k + TAPS - 1, c) scratch; stamp (3, k, c) the star
    and its derivatives by x and y, of which the first k columns mean something.

    Rows are as wide as the block's, so that each sum is one loop over all pixels.
    """

    block: Block
    work: Block
    stamp: Block


@njit(nogil=True, cache=True)
def brush(half: int, away: int) -> Brush:
    """For stamps of 2 half + 1 pixels, of stars at most `away` pixels off the middle pixel and its neighbours."""
    size = 2 * half + 1
    wide = size + 2 * (REACH + away)
    return Brush(
        np.empty((wide, wide), np.float32),
        np.empty((2, size + TAPS - 1, wide), np.float32),
        np.zeros((3, size, wide), np.float32),
    )


@njit(nogil=True, cache=True)
def blend(psf: Spline, x: float, y: float, out: Block) -> None:
    """The coefficients at a place of the frame, as many round the middle as `out` (odd, odd) has room for."""
    u, v = 2 * x / max(psf.nx - 1, 1) - 1, 2 * y / max(psf.ny - 1, 1) - 1
    size = out.shape[0]
    first = psf.planes.shape[1] // 2 - size // 2
    out[:] = 0
    for term in range(psf.planes.shape[0]):
        factor = np.float32(u ** psf.powers[0, term] * v ** psf.powers[1, term])
        for b in range(size):
            row, plane = out[b], psf.planes[term, first + b, first : first + size]
            for a in range(size):
                row[a] += factor * plane[a]


@njit(nogil=True, cache=True)
def draw_stamp(dx: float, dy: float, tools: Brush, slopes: bool) -> None:
    """The star of the brush's block, dx, dy pixels off the middle pixel, into its stamp; its derivatives only on demand."""
    size, wide = tools.stamp.shape[1:]
    margin = (wide - size) // 2 - REACH + 1
    left, up = int(np.floor(-dx)), int(np.floor(-dy))
    (along, along_slope), (across, across_slope) = _taps(-dx - left), _taps(-dy - up)
    first = (margin + up) * wide + margin + left
    rows, pixels = (size + TAPS - 2) * wide + size, (size - 1) * wide + size
    source = tools.block.ravel()[first : first + rows + TAPS - 1]
    values, sloping = tools.work[0].ravel(), tools.work[1].ravel()
    _sum_taps(source, 1, along, values[:rows])
    _sum_taps(values, wide, across, tools.stamp[0].ravel()[:pixels])
    if slopes:
        _sum_taps(source, 1, along_slope, sloping[:rows])
        _sum_taps(sloping, wide, across, tools.stamp[1].ravel()[:pixels])
        _sum_taps(values, wide, across_slope, tools.stamp[2].ravel()[:pixels])


@njit(nogil=True, cache=True, fastmath={"contract"})
def _sum_taps(source: Block, step: int, weights: Weights, out: Block) -> None:
    """out[p] = sum_j weights[j] source[p + j step]."""
    n = out.size
    w0, w1, w2, w3, w4, w5 = weights
    s0, s1, s2 = source[:n], source[step : step + n], source[2 * step : 2 * step + n]
    s3, s4, s5 = source[3 * step : 3 * step + n], source[4 * step : 4 * step + n], source[5 * step : 5 * step + n]
    for p in range(n):
        out[p] = w0 * s0[p] + w1 * s1[p] + w2 * s2[p] + w3 * s3[p] + w4 * s4[p] + w5 * s5[p]


@njit(nogil=True, cache=True)
def _taps(t: float) -> tuple[Weights, Weights]:
    """Weights of the six coefficients round a place t = 0 ... 1 behind the third, and minus their derivatives."""
    (a0, b0), (a1, b1), (a2, b2) = _quintic(t + 2), _quintic(t + 1), _quintic(t)
    (a3, b3), (a4, b4), (a5, b5) = _quintic(t - 1), _quintic(t - 2), _quintic(t - 3)
    f = np.float32
    return (f(a0), f(a1), f(a2), f(a3), f(a4), f(a5)), (f(-b0), f(-b1), f(-b2), f(-b3), f(-b4), f(-b5))


@njit(nogil=True, cache=True)
def _quintic(offset: float) -> tuple[float, float]:
    """The quintic B-spline and its derivative (Unser 1999, IEEE Signal Proc. Mag. 16, 22)."""
    a = abs(offset)
    sign = 1.0 if offset > 0 else -1.0
    if a < 1:
        return 11 / 20 - a**2 / 2 + a**4 / 4 - a**5 / 12, sign * (-a + a**3 - 5 * a**4 / 12)
    if a < 2:
        value = 17 / 40 + 5 * a / 8 - 7 * a**2 / 4 + 5 * a**3 / 4 - 3 * a**4 / 8 + a**5 / 24
        return value, sign * (5 / 8 - 7 * a / 2 + 15 * a**2 / 4 - 3 * a**3 / 2 + 5 * a**4 / 24)
    if a < 3:
        return (3 - a) ** 5 / 120, -sign * (3 - a) ** 4 / 24
    return 0.0, 0.0
