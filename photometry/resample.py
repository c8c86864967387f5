"""The template on the science frame's pixel grid, in one interpolation.

Guarantees: flux is conserved (each pixel is multiplied by the local pixel-area ratio), NaN and masked pixels never spread
(they are filled before and flagged after), what lies outside the template is flagged EDGE and is zero.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.image import Image
from photometry.mask import Bit
from photometry.registration import Transform

EDGE = np.uint16(Bit.EDGE)
ROWS = 256  # of the science grid at a time
SPLINE_ORDER = 3
SPARSE = 5  # every fifth pixel has a plane's median
MARGIN_PIXELS = 2  # of the template's border that an interpolation cannot use

Plane = NDArray[np.float32]
Array = NDArray[np.float64]


def resample(template: Image, filled: Plane, transform: Transform) -> Image:
    """`template` at the places `transform` gives for each science pixel.

    filled: the template's data (ny, nx) float32 with its masked pixels replaced by something finite.  Cubic splines for the
    data; the variance is the nearest pixel's, not a sum with squared weights: noise that the interpolation smooths is the
    same noise on larger scales; where that pixel is masked, the frame's median.  The mask gets the bits of the four pixels
    round each place.
    """
    (ny, nx), (my, mx) = transform.shape, template.shape
    coefficients = ndimage.spline_filter(filled, order=SPLINE_ORDER, output=np.float32, mode="mirror")
    known = np.isfinite(template.variance) & (template.variance > 0) & (template.mask == 0)
    sample = template.variance[::SPARSE, ::SPARSE][known[::SPARSE, ::SPARSE]]
    typical = float(np.median(sample)) if sample.size else 1.0
    variance = np.where(known, template.variance, np.float32(typical))
    bits = template.mask.copy()
    for low, high in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        bits[low] |= bits[high].copy()
    out = Image(
        data=np.zeros((ny, nx), np.float32),
        variance=np.zeros((ny, nx), np.float32),
        mask=np.full((ny, nx), EDGE, np.uint16),
        unit=template.unit,
        gain=template.gain,
        read_noise=template.read_noise,
        saturation=template.saturation,
    )
    for y0 in range(0, ny, ROWS):
        rows = slice(y0, min(y0 + ROWS, ny))
        X, Y, area = _places(transform, rows)
        places = (Y, X)
        out.data[rows] = area * ndimage.map_coordinates(
            coefficients, places, order=SPLINE_ORDER, prefilter=False, mode="mirror"
        )
        out.variance[rows] = area * variance[_indices(Y + 0.5, 0, my - 1), _indices(X + 0.5, 0, mx - 1)]
        out.mask[rows] = _carried(bits, X, Y)
        out.data[rows][(out.mask[rows] & EDGE) != 0] = 0
    return out


def _places(transform: Transform, rows: slice) -> tuple[Array, Array, Plane]:
    """Template places X, Y of the science rows, and the area of a science pixel there in template pixels."""
    ny, nx = transform.shape
    u = 2 * np.arange(-1, nx + 1) / (nx - 1) - 1
    v = 2 * np.arange(rows.start - 1, rows.stop + 1) / (ny - 1) - 1
    degree = transform.cx.shape[0]
    powers_u, powers_v = np.vander(u, degree, increasing=True), np.vander(v, degree, increasing=True)
    X, Y = powers_v @ transform.cx @ powers_u.T, powers_v @ transform.cy @ powers_u.T
    xx, xy = (X[1:-1, 2:] - X[1:-1, :-2]) / 2, (X[2:, 1:-1] - X[:-2, 1:-1]) / 2
    yx, yy = (Y[1:-1, 2:] - Y[1:-1, :-2]) / 2, (Y[2:, 1:-1] - Y[:-2, 1:-1]) / 2
    area = np.abs(xx * yy - xy * yx)
    return X[1:-1, 1:-1], Y[1:-1, 1:-1], area.astype(np.float32)


def _indices(place: Array, low: int, high: int) -> NDArray[np.int32]:
    return np.asarray(np.clip(np.nan_to_num(np.floor(place)), low, high), np.int32)


def _carried(bits: NDArray[np.uint16], X: Array, Y: Array) -> NDArray[np.uint16]:
    """The bits of the four template pixels round each place; EDGE beyond the template's usable border.

    bits: those of each template pixel, of the one above, of the one to the right and of the one between these.
    """
    ny, nx = bits.shape
    outside = ~((MARGIN_PIXELS <= X) & (nx - 1 - MARGIN_PIXELS >= X) & (MARGIN_PIXELS <= Y) & (ny - 1 - MARGIN_PIXELS >= Y))
    found = bits[_indices(Y, 0, ny - 2), _indices(X, 0, nx - 2)]
    return np.asarray(np.where(outside, found | EDGE, found), dtype=np.uint16)
