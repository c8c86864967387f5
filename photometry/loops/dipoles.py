"""Stars whose light stands on both sides of nothing in a difference."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Flags = NDArray[np.uint8]


@njit(nogil=True, cache=True)
def find_tops(light: Plane, sigma: Plane, least: float) -> NDArray[np.float32]:
    """(n, 4): y, x, light, sigma of the maxima of 3 x 3 values above `least` sigmas; those at the border are none."""
    out = np.empty((256, 4), np.float32)
    count = 0
    for y in range(1, light.shape[0] - 1):
        for x in range(1, light.shape[1] - 1):
            value = light[y, x]
            if not value > least * sigma[y, x] or not _is_top(light, value, y, x):
                continue
            if count == len(out):
                out = np.concatenate((out, out))
            out[count, 0], out[count, 1], out[count, 2], out[count, 3] = y, x, value, sigma[y, x]
            count += 1
    return out[:count]


@njit(nogil=True, cache=True)
def _is_top(light: Plane, value: np.float32, y: int, x: int) -> bool:
    for b in range(y - 1, y + 2):
        for a in range(x - 1, x + 2):
            if light[b, a] > value:
                return False
    return True


@njit(nogil=True, cache=True)
def dipole_reaches(
    planes: tuple[Plane, Flags, Plane], stars: Plane, sky: float, psfs: NDArray[np.float32], search: tuple[int, int],
    limits: tuple[float, float],
) -> Plane:  # fmt: skip
    """(n,): how far from each star on its PSF fits with both signs, on either side of it; 0 where that is not so.

    planes: data, what is usable of them, light of 2 x 2 pixels; stars (n, 4): y, x, light and sigma; psfs (n, k, k), k odd.
    The variance of a pixel is `sky` and what the star's own says of its light.  search: as far and in such steps places are
    looked at; limits: sigmas that each sign has at least, and share of the stronger that the other has.
    """
    out = np.empty(len(stars), np.float32)
    for i in range(len(stars)):
        y, x, light, sigma = stars[i]
        noise = sky, max(sigma * sigma - sky, 0.0) / light
        out[i] = _reach(planes, int(y), int(x), noise, psfs[i], search, limits)
    return out


@njit(nogil=True, cache=True)
def _reach(
    planes: tuple[Plane, Flags, Plane], y: int, x: int, noise: tuple[float, float], psf: Plane, search: tuple[int, int],
    limits: tuple[float, float],
) -> float:  # fmt: skip
    """Of one star; noise: the variance of a pixel is noise[0] + noise[1] times the light."""
    data, usable, light = planes
    (most, step), (least, share) = search, limits
    low, high, far = 0.0, 0.0, 0.0
    dark, bright = (0, 0), (0, 0)
    for b in range(y - most, y + most + 1, step):
        for a in range(x - most, x + most + 1, step):
            if (b - y) ** 2 + (a - x) ** 2 > most**2 or not (0 <= b < data.shape[0] and 0 <= a < data.shape[1]):
                continue
            variance = noise[0] + noise[1] * max(light[b // 2, a // 2], 0)
            score = _fit(data, usable, b, a, psf) / np.sqrt(variance)
            if score < low:
                low, dark = score, (b - y, a - x)
            if score > high:
                high, bright = score, (b - y, a - x)
            if abs(score) > least:
                far = max(far, np.hypot(b - y, a - x))
    opposite = dark[0] * bright[0] + dark[1] * bright[1] < 0
    return far if opposite and min(-low, high) > max(least, share * max(-low, high)) else 0.0


@njit(nogil=True, cache=True)
def _fit(data: Plane, usable: Flags, y: int, x: int, psf: Plane) -> float:
    """The PSF times the usable data, over what it makes of noise of 1."""
    half = psf.shape[0] // 2
    total, square = 0.0, 0.0
    for b in range(max(y - half, 0), min(y + half + 1, data.shape[0])):
        for a in range(max(x - half, 0), min(x + half + 1, data.shape[1])):
            if usable[b, a]:
                weight = psf[b - y + half, a - x + half]
                total += weight * data[b, a]
                square += weight * weight
    return total / np.sqrt(square) if square > 0 else 0.0
