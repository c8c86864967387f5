"""How light falls on the detector: the point-spread function, and where a place of the sky lands.

The PSF is an elliptical Moffat profile of exponent 3 (Moffat 1969, A&A 3, 455),

    P(x, y) = 2 / (pi alpha^2) * (1 + q(x, y) / alpha^2)^-3,    alpha = fwhm / (2 sqrt(2^(1/3) - 1)),

q a quadratic form of determinant 1.  It is integrated over a pixel with 2 x 2 Gauss-Legendre points: exact to 0.1 % of the
flux for a fwhm of 2.5 pixels and more.  A source is drawn out to where its wing falls below
`WING_ELECTRONS` a pixel; what lies outside is lost: 0.5 % of the flux at a signal-to-noise ratio of about 5, less for
brighter ones.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Pixels = NDArray[np.float64] | NDArray[np.float32]

WING_ELECTRONS = 0.05
REACH_PIXELS = 120.0  # no wing is drawn farther than this
_ALPHA_PER_FWHM = 1 / (2 * math.sqrt(2 ** (1 / 3) - 1))
_GAUSS_NODE = 0.5 / math.sqrt(3)  # of the two-point rule on a pixel of side 1


@dataclass(frozen=True)
class Psf:
    """The PSF of one exposure: its width and ellipticity at the centre, and their slopes over the field.

    Slopes are per unit of u, v = 2*(x, y)/(n-1)-1.
    """

    fwhm_pixels: float
    e1: float = 0.0
    e2: float = 0.0
    width_slopes: tuple[float, float, float] = (0.02, -0.015, 0.02)  # of u, v and u^2 + v^2 - 2/3, relative
    ellipticity_slope: float = 0.015

    def shape_at(self, x: ArrayLike, y: ArrayLike, shape: tuple[int, int]) -> tuple[FloatArray, FloatArray, FloatArray]:
        """-> alpha (pixels), e1, e2 at the places x, y of a frame of `shape` (ny, nx)."""
        ny, nx = shape
        u = 2 * np.asarray(x, dtype=np.float64) / (nx - 1) - 1
        v = 2 * np.asarray(y, dtype=np.float64) / (ny - 1) - 1
        s_u, s_v, s_r = self.width_slopes
        fwhm = self.fwhm_pixels * (1 + s_u * u + s_v * v + s_r * (u * u + v * v - 2 / 3))
        return fwhm * _ALPHA_PER_FWHM, self.e1 + self.ellipticity_slope * u, self.e2 + self.ellipticity_slope * v


@dataclass(frozen=True)
class Pointing:
    """Where the sky's places fall on the detector: turned about the frame's centre, then shifted."""

    dx_pixels: float = 0.0
    dy_pixels: float = 0.0
    rotation_degrees: float = 0.0  # from x towards y

    def to_frame(self, x: ArrayLike, y: ArrayLike, shape: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
        """Sky places -> frame pixels."""
        cx, cy = (shape[1] - 1) / 2, (shape[0] - 1) / 2
        px, py = np.asarray(x, dtype=np.float64) - cx, np.asarray(y, dtype=np.float64) - cy
        c, s = math.cos(math.radians(self.rotation_degrees)), math.sin(math.radians(self.rotation_degrees))
        return cx + c * px - s * py + self.dx_pixels, cy + s * px + c * py + self.dy_pixels


@njit(fastmath=True, cache=True, boundscheck=False)
def _add_moffats(  # pragma: no cover  (compiled)
    image: Pixels,
    x: FloatArray,
    y: FloatArray,
    electrons: FloatArray,
    alpha: FloatArray,
    e1: FloatArray,
    e2: FloatArray,
    wing: float,
    reach: float,
) -> None:
    ny, nx = image.shape
    for i in range(x.size):
        if electrons[i] == 0.0:
            continue
        a2 = alpha[i] * alpha[i]
        peak = 2.0 * electrons[i] / (math.pi * a2)
        r = min(reach, alpha[i] * max(2.0, (abs(peak) / wing) ** (1.0 / 6.0)))
        unit = 1.0 / math.sqrt(1.0 - e1[i] ** 2 - e2[i] ** 2) / a2
        qxx, qyy, qxy = (1 - e1[i]) * unit, (1 + e1[i]) * unit, -2.0 * e2[i] * unit
        x_lo, x_hi = max(0, math.ceil(x[i] - r)), min(nx - 1, math.floor(x[i] + r))
        for row in range(max(0, math.ceil(y[i] - r)), min(ny - 1, math.floor(y[i] + r)) + 1):
            y_a, y_b = row - y[i] - _GAUSS_NODE, row - y[i] + _GAUSS_NODE
            for col in range(x_lo, x_hi + 1):
                x_a, x_b = col - x[i] - _GAUSS_NODE, col - x[i] + _GAUSS_NODE
                t1 = 1.0 + qxx * x_a * x_a + (qxy * x_a + qyy * y_a) * y_a
                t2 = 1.0 + qxx * x_b * x_b + (qxy * x_b + qyy * y_a) * y_a
                t3 = 1.0 + qxx * x_a * x_a + (qxy * x_a + qyy * y_b) * y_b
                t4 = 1.0 + qxx * x_b * x_b + (qxy * x_b + qyy * y_b) * y_b
                total = 1 / (t1 * t1 * t1) + 1 / (t2 * t2 * t2) + 1 / (t3 * t3 * t3) + 1 / (t4 * t4 * t4)
                image[row, col] += 0.25 * peak * total


def draw(
    image: Pixels, x: ArrayLike, y: ArrayLike, electrons: ArrayLike, psf: Psf, wing_electrons: float = WING_ELECTRONS
) -> None:
    """Add point sources of so many electrons at frame pixels x, y to `image` (ny, nx), in place."""
    x = np.atleast_1d(np.asarray(x, dtype=np.float64))
    y = np.atleast_1d(np.asarray(y, dtype=np.float64))
    electrons = np.atleast_1d(np.asarray(electrons, dtype=np.float64))
    alpha, e1, e2 = psf.shape_at(x, y, (image.shape[0], image.shape[1]))
    _add_moffats(image, x, y, electrons, alpha, e1, e2, wing_electrons, REACH_PIXELS)


def stamp(psf: Psf, x: float, y: float, shape: tuple[int, int], half: int) -> FloatArray:
    """The PSF at x, y of a frame of `shape`, centred in a (2*half+1, 2*half+1) array; the whole PSF's sum is 1."""
    pixels = np.zeros((2 * half + 1, 2 * half + 1))
    alpha, e1, e2 = (np.atleast_1d(a) for a in psf.shape_at(x, y, shape))
    _add_moffats(pixels, np.array([float(half)]), np.array([float(half)]), np.ones(1), alpha, e1, e2, 1e-15, 1e9)
    return pixels
