"""Stars whose light stands on both sides of nothing in a difference."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Flags = NDArray[np.uint8]

OTHER_SHARE = 0.3  # of a lobe that lies across the middle


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
    planes: tuple[Plane, Flags, Plane], stars: Plane, sky: float, psfs: NDArray[np.float32], search: tuple[int, int, int],
    limits: tuple[float, float],
) -> Plane:  # fmt: skip
    """(n,): how far a dipole reaches from each star's middle; 0 where there is none.

    planes: data, what is usable of them, light of 2 x 2 pixels; stars (n, 4): y, x, light and sigma; psfs (n, k, k), k odd.
    The variance of a pixel is `sky` and what the star's own says of its light.  search: steps from the middle within which
    lobes make a dipole, and as far as it is followed (where they do if the middle means nothing), pixels of a step; limits:
    sigmas that each lobe has at least, and how odd the whole is, 1 being all.
    """
    inner, most, step = search
    out = np.empty(len(stars), np.float32)
    fits = np.empty((2 * most + 1, 2 * most + 1), np.float32)
    sigmas = np.empty_like(fits)
    for i in range(len(stars)):
        y, x, light, sigma = stars[i]
        noise = sky, max(sigma * sigma - sky, 0.0) / light
        _fit_round(planes, int(y), int(x), noise, psfs[i], step, fits, sigmas)
        reach = inner if planes[1][int(y), int(x)] else most
        part = slice(most - reach, most + reach + 1)
        scores, near = fits[part, part] / sigmas[part, part], fits[part, part]
        lobes = min(-scores.min(), scores.max()) > limits[0]
        # what is brightest at the rim belongs to something beyond it
        inside = max(_distance(int(scores.argmin()), reach), _distance(int(scores.argmax()), reach)) < reach
        is_one = lobes and inside and _oddness(near) > limits[1]
        out[i] = step * _extent(fits / sigmas, limits[0]) if is_one else 0.0
    return out


@njit(nogil=True, cache=True)
def _fit_round(
    planes: tuple[Plane, Flags, Plane], y: int, x: int, noise: tuple[float, float], psf: Plane, step: int, fits: Plane,
    sigmas: Plane,
) -> None:  # fmt: skip
    """What a PSF fits at places round (y, x), within a disc, and its sigma; noise: variance is noise[0] + noise[1] light."""
    data, usable, light = planes
    most = len(fits) // 2
    fits[:], sigmas[:] = 0, 1
    for j in range(-most, most + 1):
        for i in range(-most, most + 1):
            b, a = y + j * step, x + i * step
            if j * j + i * i <= most * most and 0 <= b < data.shape[0] and 0 <= a < data.shape[1]:
                fits[j + most, i + most] = _fit(data, usable, b, a, psf)
                sigmas[j + most, i + most] = np.sqrt(noise[0] + noise[1] * max(light[b // 2, a // 2], 0))


@njit(nogil=True, cache=True)
def _distance(place: int, reach: int) -> float:
    """Steps from the middle of a square of 2 reach + 1 to one of its places, counted along its rows."""
    return float(np.hypot(place // (2 * reach + 1) - reach, place % (2 * reach + 1) - reach))


@njit(nogil=True, cache=True)
def _oddness(fits: Plane) -> float:
    """How much each value is the negative of that across the middle: 1 all, 0 one lobe beside it, -1 one on it.

    Of light, not of sigmas: what a star loses on one side it has on the other.
    """
    n = len(fits)
    across, square = 0.0, 0.0
    for j in range(n):
        for i in range(n):
            across -= fits[j, i] * fits[n - 1 - j, n - 1 - i]
            square += fits[j, i] ** 2
    return across / max(square, 1e-30)


@njit(nogil=True, cache=True)
def _extent(scores: Plane, least: float) -> float:
    """Steps from the middle to the outermost value beyond `least` that has something of the other sign across the middle."""
    n = len(scores)
    far = 0.0
    for j in range(n):
        for i in range(n):
            mine, other = scores[j, i], scores[n - 1 - j, n - 1 - i]
            if abs(mine) > least and mine * other < -OTHER_SHARE * mine * mine:
                far = max(far, np.hypot(j - n // 2, i - n // 2))
    return far


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
