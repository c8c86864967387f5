"""The light of stars by their PSF: put on a frame, taken off it round each star, and measured at known places."""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from photometry.loops.spline import Spline, blend, brush, draw_stamp

Array = NDArray[np.float64]
Plane = NDArray[np.float32]


class Scene(NamedTuple):
    """data, model (ny, nx) float32: the frame without its sky, and the stars' light on it as far as it is known; mask
    (ny, nx) uint16 and the bits of it that make a pixel useless, and those that say it is saturated; gain: electrons per
    unit.
    """

    data: Plane
    model: Plane
    mask: NDArray[np.uint16]
    useless: int
    saturated: int
    gain: float


@njit(nogil=True, cache=True, error_model="numpy")
def add_stars(out: Plane, psf: Spline, stars: Array, y0: int, y1: int) -> None:
    """Add the stars' light to the rows y0 ... y1 - 1 of a frame; stars (n, 3): flux, x, y; a flux of NaN is none."""
    half = psf.half
    tools = brush(half, 0)
    for i in range(len(stars)):
        flux, x, y = stars[i]
        if not np.isfinite(flux + x + y) or y + half + 1 < y0 or y - half - 1 >= y1:
            continue
        xi, yi = round(x), round(y)
        blend(psf, x, y, tools.block)
        draw_stamp(x - xi, y - yi, tools, False)
        a0, a1 = max(-half, -xi), min(half, out.shape[1] - 1 - xi)
        light = np.float32(flux)
        for b in range(max(-half, y0 - yi), min(half, y1 - 1 - yi) + 1):
            row, own = out[yi + b, xi + a0 : xi + a1 + 1], tools.stamp[0, b + half, a0 + half : a1 + half + 1]
            for a in range(row.size):
                row[a] += light * own[a]


@njit(nogil=True, cache=True, error_model="numpy")
def guess_fluxes(scene: Scene, psf: Spline, half: int, places: Array, out: Array) -> None:
    """Out (n,): sum(P D) / sum(P^2) at places (n, 2) x, y over a star's core where it is seen, else over 2 half + 1 pixels
    square; 0 where all are useless.
    """
    ny, nx = scene.data.shape
    tools = brush(half, 0)
    for i in range(len(places)):
        x, y = places[i]
        xi, yi = round(x), round(y)
        blend(psf, x, y, tools.block)
        draw_stamp(x - xi, y - yi, tools, False)
        out[i] = 0
        for reach in (1, half):
            light = norm = 0.0
            for b in range(max(-reach, -yi), min(reach, ny - 1 - yi) + 1):
                for a in range(max(-reach, -xi), min(reach, nx - 1 - xi) + 1):
                    value = scene.data[yi + b, xi + a]
                    if not scene.mask[yi + b, xi + a] & scene.useless and np.isfinite(value):
                        light += tools.stamp[0, b + half, a + half] * value
                        norm += tools.stamp[0, b + half, a + half] ** 2
            if norm > 0:
                out[i] = light / norm
                break


@njit(nogil=True, cache=True, error_model="numpy")
def cut_stars(scene: Scene, psf: Spline, stars: Array, tiles: Plane, useless: NDArray[np.uint8]) -> None:
    """Each star alone: the frame round the star's pixel less the light of all the others, and which pixels mean nothing.

    tiles, useless (n, k, k), k odd: filled; beyond the frame's border all is useless.  stars (n, 3): flux, x, y.
    """
    half = min(psf.half, tiles.shape[1] // 2)
    size, edge = 2 * half + 1, tiles.shape[1] // 2 - half
    tools = brush(half, 0)
    for i in range(len(stars)):
        flux, x, y = stars[i]
        xi, yi = round(x), round(y)
        _less_model(scene, xi, yi, tiles[i], useless[i])
        if np.isfinite(flux):
            blend(psf, x, y, tools.block)
            draw_stamp(x - xi, y - yi, tools, False)
            for b in range(size):
                for a in range(size):
                    tiles[i, edge + b, edge + a] += flux * tools.stamp[0, b, a]


@njit(nogil=True, cache=True, error_model="numpy")
def _less_model(scene: Scene, xi: int, yi: int, tile: Plane, useless: NDArray[np.uint8]) -> None:
    ny, nx = scene.data.shape
    reach = tile.shape[0] // 2
    for b in range(tile.shape[0]):
        for a in range(tile.shape[1]):
            y, x = yi + b - reach, xi + a - reach
            seen = 0 <= y < ny and 0 <= x < nx and not scene.mask[y, x] & scene.useless and np.isfinite(scene.data[y, x])
            useless[b, a] = 0 if seen else 1
            tile[b, a] = scene.data[y, x] - scene.model[y, x] if seen else np.float32(0)


@njit(nogil=True, cache=True, error_model="numpy")
def force_fluxes(
    data: Plane, variance: Plane, useless: NDArray[np.bool_], psf: Spline, places: Array, seen_share: float, out: Array
) -> None:
    """Out (n, 3): F = sum(P D / V) / sum(P^2 / V), 1 / sum(P^2 / V) and sum(P^3 / V^2) / sum(P^2 / V)^2 at each place x, y.

    The variance of F is the second, and the third times the source's flux where V does not hold its photons.  NaN where less
    than `seen_share` of the PSF's squares can be used.
    """
    ny, nx = data.shape
    half = psf.half
    tools = brush(half, 0)
    for i in range(len(places)):
        x, y = places[i]
        out[i] = np.nan
        if not (-0.5 <= x < nx - 0.5 and -0.5 <= y < ny - 0.5):
            continue
        xi, yi = round(x), round(y)
        blend(psf, x, y, tools.block)
        draw_stamp(x - xi, y - yi, tools, False)
        light = norm = photons = seen = 0.0
        for b in range(max(-half, -yi), min(half, ny - 1 - yi) + 1):
            for a in range(max(-half, -xi), min(half, nx - 1 - xi) + 1):
                if useless[yi + b, xi + a] or not variance[yi + b, xi + a] > 0 or not np.isfinite(data[yi + b, xi + a]):
                    continue
                p, v = tools.stamp[0, b + half, a + half], variance[yi + b, xi + a]
                light += p * data[yi + b, xi + a] / v
                norm += p * p / v
                photons += p * p * max(p, 0.0) / (v * v)
                seen += p * p
        if seen > seen_share * (tools.stamp[0, :, : 2 * half + 1] ** 2).sum():
            out[i] = light / norm, 1 / norm, photons / (norm * norm)
