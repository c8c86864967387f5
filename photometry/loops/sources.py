"""Each source measured on its own: where it is, how wide, how bright."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.loops.apertures import Ellipse, ellipse_of, half_light_radius, kron_radius, sum_ellipse

Plane = NDArray[np.float32]
Mask = NDArray[np.uint16]
Values = NDArray[np.float64]

LARGEST_KRON = 6.0  # semi-axes within which the mean distance of the light is taken
KRON_RADII = 2.5  # hold 94 % of a galaxy's light
SMALLEST_RADIUS = 3.5  # pixels: of the ellipse that is summed, as in SExtractor's defaults
CORE = 3.5  # semi-axes, beyond which no part of a source is looked for
FWHM_PER_SIGMA = 2.3548
LEANING_SIZE, LEANING_KRON = 0.6, 1.5  # FWHM and semi-axes: somewhat more than a star's
WINDOW_SIGMAS = 4.0
STEPS, SMALLEST_STEP = 16, 1e-4  # of a windowed centroid; pixels


class Frame(NamedTuple):
    """Planes of a frame without its sky, and the mask's bits that mean nothing."""

    data: Plane
    variance: Plane
    mask: Mask
    hidden: int


class Near(NamedTuple):
    """Of each source (n,): whether a neighbour's light runs into it; whether it stands on the slope of a higher one."""

    crowded: NDArray[np.bool_]
    leaning: NDArray[np.bool_]


class Widths(NamedTuple):
    """FWHM from which and up to which a source is taken for a star by its centroid's window, in pixels."""

    least: float
    most: float


WIDTHS = Widths(1.0, 20.0)


@njit(nogil=True, cache=True)
def measure_sources(
    frame: Frame, shapes: Values, near: Near, star: float, radii: Values, out: Values, flags: NDArray[np.int32]
) -> None:
    """Fill out (n, 5 + 2 radii): x, y, fwhm, flux and its error, and those within circles round x, y; add to flags (n,).

    shapes (n, 5): x, y, a, b, theta of each source; star: the FWHM of a star, in pixels.  That is what a crowded source's
    centroid looks at; and what leans on a higher source, whose light is under it, is not taken for larger than a star.
    """
    circle = Ellipse(1.0, 1.0, 0.0, 1.0)
    for i in range(len(shapes)):
        x, y, a, b, theta = shapes[i]
        most_kron = LARGEST_KRON
        if near.leaning[i]:
            a, b, most_kron = min(a, LEANING_SIZE * star), min(b, LEANING_SIZE * star), LEANING_KRON
        half = half_light_radius(frame.data, frame.mask, frame.hidden, x, y, CORE * np.sqrt(a * b), star / 4)
        fwhm = 2 * half if half > 0 else FWHM_PER_SIGMA * np.sqrt(a * b)
        out[i, 2] = fwhm
        out[i, 0], out[i, 1] = _centroid(frame, x, y, min(fwhm, star) if near.crowded[i] else fwhm)
        ellipse = ellipse_of(a, b, theta)
        kron, kron_flags = kron_radius(frame.data, frame.mask, frame.hidden, x, y, ellipse, LARGEST_KRON)
        r = max(KRON_RADII * min(kron, most_kron), SMALLEST_RADIUS / np.sqrt(a * b))
        out[i, 3], out[i, 4], cut = _sum(frame, x, y, ellipse, r)
        flags[i] |= kron_flags | cut
        for k in range(radii.size):
            out[i, 5 + 2 * k], out[i, 6 + 2 * k], _ = _sum(frame, out[i, 0], out[i, 1], circle, radii[k])


@njit(nogil=True, cache=True)
def measure_widths(frame: Frame, shapes: Values, star: float, out: Values) -> None:
    """Out (n,): the FWHM alone, 0 where there is no light."""
    for i in range(len(shapes)):
        reach = CORE * np.sqrt(shapes[i, 2] * shapes[i, 3])
        out[i] = 2 * half_light_radius(frame.data, frame.mask, frame.hidden, shapes[i, 0], shapes[i, 1], reach, star / 4)


@njit(nogil=True, cache=True)
def _sum(frame: Frame, x: float, y: float, shape: Ellipse, r: float) -> tuple[float, float, int]:
    return sum_ellipse(frame.data, frame.variance, frame.mask, frame.hidden, x, y, shape, r)


@njit(nogil=True, cache=True)
def _centroid(frame: Frame, x0: float, y0: float, fwhm: float) -> tuple[float, float]:
    """The windowed centroid; the place itself where it is masked near it, does not settle, or runs off to a neighbour."""
    sigma = min(max(fwhm, WIDTHS.least), WIDTHS.most) / FWHM_PER_SIGMA
    x, y = x0, y0
    for _ in range(STEPS):
        dx, dy, found = _offset(frame, x, y, sigma)
        x, y = x + 2 * dx, y + 2 * dy
        if not found or not np.hypot(x - x0, y - y0) < max(1.0, 0.5 * fwhm):
            return x0, y0
        if dx * dx + dy * dy < SMALLEST_STEP**2:
            break
    return x, y


@njit(nogil=True, cache=True)
def _offset(frame: Frame, x: float, y: float, sigma: float) -> tuple[float, float, bool]:
    """Mean offset of the light under a Gaussian window from its middle."""
    ny, nx = frame.data.shape
    reach = WINDOW_SIGMAS * sigma
    y0, y1, x0, x1 = int(np.ceil(y - reach)), int(y + reach) + 1, int(np.ceil(x - reach)), int(x + reach) + 1
    if y0 < 0 or x0 < 0 or y1 > ny or x1 > nx:
        return 0.0, 0.0, False
    across = np.empty(x1 - x0)
    for a in range(x0, x1):
        across[a - x0] = np.exp(-0.5 * ((a - x) / sigma) ** 2)
    total, sum_x, sum_y = 0.0, 0.0, 0.0
    for b in range(y0, y1):
        down = np.exp(-0.5 * ((b - y) / sigma) ** 2)
        row, row_x = 0.0, 0.0
        for a in range(x0, x1):
            if frame.mask[b, a] & frame.hidden:
                return 0.0, 0.0, False
            part = across[a - x0] * frame.data[b, a]
            row += part
            row_x += part * (a - x)
        total += down * row
        sum_x += down * row_x
        sum_y += down * row * (b - y)
    return (sum_x / total, sum_y / total, True) if total > 0 else (0.0, 0.0, False)
