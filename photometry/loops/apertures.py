"""Light within circles and ellipses: pixels that the border crosses count by the share of 5 x 5 points that lie within.

As sep and SExtractor have it: what is flagged is left out, and stands for as much as the rest of the aperture holds.
Bertin & Arnouts 1996; Kron 1980; Barbary 2016.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Mask = NDArray[np.uint16]

POINTS = 5  # of a pixel, along each axis
RINGS = 64  # of a circle whose light is followed outwards
NEAR_PIXELS, FAR_POINTS = 3.0, 2  # beyond so many pixels from the middle fewer points of a pixel tell its ring
CORE_RADII, STEPS = 3.0, 8  # the core of a source, in its half-light radii; 98 % of a Gaussian star
CUT, MASKED, NO_KRON = 0x10, 0x20, 0x80  # flags


class Ellipse(NamedTuple):
    """xx dx^2 + yy dy^2 + xy dx dy <= r^2; r in semi-axes, minor the smaller one in pixels."""

    xx: float
    yy: float
    xy: float
    minor: float


@njit(nogil=True, cache=True)
def ellipse_of(a: float, b: float, theta: float) -> Ellipse:
    """Semi-axes in pixels, theta from x towards y."""
    c, s = np.cos(theta), np.sin(theta)
    xx, yy = (c / a) ** 2 + (s / b) ** 2, (s / a) ** 2 + (c / b) ** 2
    return Ellipse(xx, yy, 2 * c * s * (1 / a**2 - 1 / b**2), min(a, b))


@njit(nogil=True, cache=True)
def sum_ellipse(
    data: Plane, variance: Plane, mask: Mask, hidden: int, x: float, y: float, shape: Ellipse, r: float
) -> tuple[float, float, int]:
    """Light, its standard deviation, and CUT, MASKED; NaN where nothing is usable."""
    ny, nx = data.shape
    inner, outer = max(r - 0.7072 / shape.minor, 0.0) ** 2, (r + 0.7072 / shape.minor) ** 2
    light, noise, area, lost = 0.0, 0.0, 0.0, 0.0
    top, bottom = _rows(shape, r, y)
    flags = CUT if top < 0 or bottom >= ny else 0
    for b in range(max(top, 0), min(bottom + 1, ny)):
        left, right = _columns(shape, r, x, b - y)
        if left < 0 or right >= nx:
            flags |= CUT
        for a in range(max(left, 0), min(right + 1, nx)):
            dx, dy = a - x, b - y
            r2 = shape.xx * dx * dx + shape.yy * dy * dy + shape.xy * dx * dy
            if r2 > outer:
                continue
            share = 1.0 if r2 < inner else _share(shape, r, dx, dy)
            area += share
            if mask[b, a] & hidden:
                lost += share
            else:
                light += share * data[b, a]
                noise += share * variance[b, a]
    if lost > 0:
        flags |= MASKED
        if area <= lost:
            return np.nan, np.nan, flags
        light, noise = light * area / (area - lost), noise * area / (area - lost)
    return light, np.sqrt(noise), flags


@njit(nogil=True, cache=True)
def _rows(shape: Ellipse, r: float, y: float) -> tuple[int, int]:
    """First and last row that an ellipse may touch."""
    reach = r * np.sqrt(shape.xx / (shape.xx * shape.yy - shape.xy**2 / 4))
    return int(np.floor(y - reach + 0.5)), int(np.floor(y + reach + 0.5))


@njit(nogil=True, cache=True)
def _columns(shape: Ellipse, r: float, x: float, dy: float) -> tuple[int, int]:
    """First and last column that an ellipse may touch in a row: that of its part within half a pixel of dy."""
    low, high = np.inf, -np.inf
    for k in range(POINTS):
        at = dy - 0.5 + (k + 0.5) / POINTS
        square = (shape.xy * at) ** 2 - 4 * shape.xx * (shape.yy * at * at - r * r)
        if square >= 0:
            half, middle = np.sqrt(square) / (2 * shape.xx), -shape.xy * at / (2 * shape.xx)
            low, high = min(low, middle - half), max(high, middle + half)
    if low > high:
        return 0, -1
    return int(np.floor(x + low + 0.5)), int(np.floor(x + high + 0.5))


@njit(nogil=True, cache=True)
def _share(shape: Ellipse, r: float, dx: float, dy: float) -> float:
    """Of a pixel within an ellipse."""
    count = 0
    for j in range(POINTS):
        v = dy - 0.5 + (j + 0.5) / POINTS
        for i in range(POINTS):
            u = dx - 0.5 + (i + 0.5) / POINTS
            count += shape.xx * u * u + shape.yy * v * v + shape.xy * u * v <= r * r
    return count / POINTS**2


@njit(nogil=True, cache=True)
def kron_radius(data: Plane, mask: Mask, hidden: int, x: float, y: float, shape: Ellipse, r: float) -> tuple[float, int]:
    """The mean distance of the light from the middle within r, in semi-axes; 0 and NO_KRON where there is no light."""
    ny, nx = data.shape
    far, light, flags = 0.0, 0.0, 0
    top, bottom = _rows(shape, r, y)
    for b in range(max(top, 0), min(bottom + 1, ny)):
        left, right = _columns(shape, r, x, b - y)
        for a in range(max(left, 0), min(right + 1, nx)):
            dx, dy = a - x, b - y
            r2 = shape.xx * dx * dx + shape.yy * dy * dy + shape.xy * dx * dy
            if r2 > r * r:
                continue
            if mask[b, a] & hidden:
                flags |= MASKED
                continue
            far += np.sqrt(r2) * data[b, a]
            light += data[b, a]
    return (far / light, flags) if far > 0 and light > 0 else (0.0, flags | NO_KRON)


@njit(nogil=True, cache=True)
def half_light_radius(data: Plane, mask: Mask, hidden: int, x: float, y: float, reach: float, start: float) -> float:
    """The radius, in pixels, that holds half of the light within CORE_RADII times itself, at most `reach`; 0: no light.

    start: the least that it may be; from there it grows as long as there is more light outside, but not up to a neighbour.
    """
    rings = _rings(data, mask, hidden, x, y, reach)
    scale = RINGS / reach
    radius = start
    for _ in range(STEPS):
        before, most = radius, min(int(np.ceil(CORE_RADII * radius * scale)), RINGS)
        half, within = rings[:most].sum() / 2, 0.0
        if not half > 0:
            return 0.0
        for ring in range(most):
            if within + rings[ring] >= half:
                radius = (ring + (half - within) / rings[ring]) / scale
                break
            within += rings[ring]
        if radius < before + 0.01:
            break
    return radius


@njit(nogil=True, cache=True)
def _rings(data: Plane, mask: Mask, hidden: int, x: float, y: float, reach: float) -> NDArray[np.float64]:
    """(RINGS,): the light in rings of equal width up to `reach`."""
    ny, nx = data.shape
    rings = np.zeros(RINGS)
    scale = RINGS / reach
    for b in range(max(int(y - reach), 0), min(int(y + reach) + 2, ny)):
        for a in range(max(int(x - reach), 0), min(int(x + reach) + 2, nx)):
            far = (a - x) * (a - x) + (b - y) * (b - y)
            if far > (reach + 0.7072) ** 2 or mask[b, a] & hidden:
                continue
            points = POINTS if far < NEAR_PIXELS**2 else FAR_POINTS
            part = data[b, a] / points**2
            for j in range(points):
                dy = b - y - 0.5 + (j + 0.5) / points
                for i in range(points):
                    dx = a - x - 0.5 + (i + 0.5) / points
                    ring = int(scale * np.sqrt(dx * dx + dy * dy))
                    if ring < RINGS:
                        rings[ring] += part
    return rings
