"""A PSF at a star's own place: quintic B-splines of its polynomial stamps, moved by a fraction of a pixel.

A stamp that is sampled once a pixel is interpolated so to 0.4 mmag in flux and 0.0005 px in place for a fwhm of 2.25 pixels
and more, to 1.4 mmag at 2.0; cubic splines miss by ten times as much.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
TAPS = 6
REACH = 3  # coefficients that a value takes on either side


class Spline(NamedTuple):
    """planes (terms, k, k): B-spline coefficients of polynomial stamps, the middle of the star on that of the stamp; powers
    (2, terms): of u, v = 2 (x, y) / (n - 1) - 1 over a frame of ny, nx pixels; half: of the stamps, beyond which all is 0.
    """

    planes: Array
    powers: NDArray[np.int64]
    ny: int
    nx: int
    half: int


@njit(nogil=True, cache=True)
def blend(psf: Spline, x: float, y: float, out: Array) -> None:
    """The coefficients at a place of the frame, as many round the middle as `out` (odd, odd) has room for."""
    u, v = 2 * x / max(psf.nx - 1, 1) - 1, 2 * y / max(psf.ny - 1, 1) - 1
    size = out.shape[0]
    first = psf.planes.shape[1] // 2 - size // 2
    out[:] = 0
    for term in range(psf.planes.shape[0]):
        factor = u ** psf.powers[0, term] * v ** psf.powers[1, term]
        for b in range(size):
            for a in range(size):
                out[b, a] += factor * psf.planes[term, first + b, first + a]


@njit(nogil=True, cache=True)
def stamp_at(coefficients: Array, dx: float, dy: float, work: Array, out: Array) -> None:
    """The star dx, dy pixels off the middle pixel, in out[0]; its derivatives by dx and dy in out[1], out[2] where they are.

    out (1 or 3, k, k); coefficients (c, c), c >= k + 2 REACH + 2 |dx|; work (2, >= k + TAPS, >= k): scratch.
    """
    values, slopes = np.empty((2, TAPS)), np.empty((2, TAPS))
    left, up = _taps(-dx, values[0], slopes[0]), _taps(-dy, values[1], slopes[1])
    size = out.shape[1]
    margin = (coefficients.shape[0] - size) // 2 - REACH + 1
    first_x, first_y = margin + left, margin + up
    wide = out.shape[0] == 3
    for b in range(size + TAPS - 1):
        _along(coefficients[first_y + b, first_x:], values[0], work[0, b], size)
        if wide:
            _along(coefficients[first_y + b, first_x:], slopes[0], work[1, b], size)
    for b in range(size):
        _across(work[0], values[1], b, out[0, b])
        if wide:
            _across(work[1], values[1], b, out[1, b])
            _across(work[0], slopes[1], b, out[2, b])


@njit(nogil=True, cache=True)
def _along(row: Array, weights: Array, out: Array, size: int) -> None:
    w0, w1, w2, w3, w4, w5 = weights
    for a in range(size):
        out[a] = w0 * row[a] + w1 * row[a + 1] + w2 * row[a + 2] + w3 * row[a + 3] + w4 * row[a + 4] + w5 * row[a + 5]


@njit(nogil=True, cache=True)
def _across(rows: Array, weights: Array, b: int, out: Array) -> None:
    w0, w1, w2, w3, w4, w5 = weights
    for a in range(out.size):
        out[a] = (
            w0 * rows[b, a] + w1 * rows[b + 1, a] + w2 * rows[b + 2, a]
            + w3 * rows[b + 3, a] + w4 * rows[b + 4, a] + w5 * rows[b + 5, a]
        )  # fmt: skip


@njit(nogil=True, cache=True)
def _taps(shift: float, values: Array, slopes: Array) -> int:
    """Weights of the six coefficients round a place, and minus their derivatives; the whole pixels of the shift."""
    whole = int(np.floor(shift))
    t = shift - whole
    for j in range(TAPS):
        offset = t + 2 - j
        values[j], slopes[j] = _quintic(offset)
        slopes[j] = -slopes[j]
    return whole


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
