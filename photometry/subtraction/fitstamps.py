"""Where the kernel is fitted: bright unsaturated stars spread over the frame, and pieces of blank sky between them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from photometry.subtraction.basis import Basis, basis_images, toeplitz_filters
from photometry.subtraction.convolve import Tile, window
from photometry.subtraction.solve import Stamps

Plane = NDArray[np.float32]
Stars = NDArray[np.void]

STAMP_HALF_FWHM = 2.2  # half-width of a stamp, in widths of the difference's PSF
STAMP_HALF_LIMITS = (10, 20)  # pixels
GRID_CELLS = 10  # across the frame's longer side
STARS_A_CELL = 6
MOST_STARS = 240
SKY_STAMPS = 100
SKY_SMOOTHING = 4.0  # pixels, sigma
MIN_SIGNAL = 7.0  # peak over the sky's sigma


@dataclass(frozen=True)
class Pair:
    """The two frames as the fit sees them, on one grid: finite planes, and where not to look; fwhm: of the difference's PSF.

    target, source (ny, nx) float32; target_bad, source_bad (ny, nx) bool, the latter grown by the kernel's core;
    target_sky, source_sky: variance of blank sky.
    """

    target: Plane
    source: Plane
    target_bad: NDArray[np.bool_]
    source_bad: NDArray[np.bool_]
    target_sky: Plane
    source_sky: Plane
    fwhm: float

    @property
    def stamp_half(self) -> int:
        """Half-width of the stamps, pixels."""
        return int(np.clip(np.ceil(STAMP_HALF_FWHM * self.fwhm), *STAMP_HALF_LIMITS))


def choose_stars(stars: Stars, pair: Pair) -> NDArray[np.int64]:
    """(n, 2) integer places x, y of the brightest clean stars of each grid cell, of peak S/N > MIN_SIGNAL in both frames."""
    ny, nx = pair.target.shape
    cell = max(max(ny, nx) / GRID_CELLS, 3 * pair.stamp_half)
    order = np.argsort(-stars["flux"], kind="stable")
    taken: dict[tuple[int, int], int] = {}
    places: list[tuple[int, int]] = []
    used = np.zeros(pair.target.shape, bool)
    bad = pair.target_bad | pair.source_bad
    limits = [(pair.target, MIN_SIGNAL * np.sqrt(pair.target_sky)), (pair.source, MIN_SIGNAL * np.sqrt(pair.source_sky))]
    margin = 6
    core = 3
    for i in order:
        if len(places) == MOST_STARS:
            break
        x, y = int(np.rint(stars["x"][i])), int(np.rint(stars["y"][i]))
        if not (margin <= x < nx - margin and margin <= y < ny - margin) or used[y, x]:
            continue
        if bad[y - core : y + core + 1, x - core : x + core + 1].any():
            continue
        if any(float(data[y - 1 : y + 2, x - 1 : x + 2].max()) < limit[y, x] for data, limit in limits):
            continue
        key = (int(x / cell), int(y / cell))
        if taken.get(key, 0) >= STARS_A_CELL:
            continue
        taken[key] = taken.get(key, 0) + 1
        places.append((x, y))
        used[max(y - core, 0) : y + core + 1, max(x - core, 0) : x + core + 1] = True
    return np.array(places, np.int64).reshape(-1, 2)


def choose_sky(stars: Stars, pair: Pair) -> NDArray[np.int64]:
    """(n, 2) integer places x, y far from stars and masks: at most SKY_STAMPS, spread evenly."""
    ny, nx = pair.target.shape
    half = pair.stamp_half
    step = max(int(np.sqrt(nx * ny / (4 * SKY_STAMPS))), 2 * half)
    y, x = np.mgrid[half : ny - half : step, half : nx - half : step]
    places = np.stack([x.ravel(), y.ravel()], axis=1)
    if not len(places):
        return places.astype(np.int64)
    bad = pair.target_bad | pair.source_bad
    share = np.array([bad[b - half : b + half + 1, a - half : a + half + 1].mean() for a, b in places])
    distance = np.full(len(places), np.inf)
    if len(stars):
        distance, _ = cKDTree(np.stack([stars["x"], stars["y"]], axis=1)).query(places)
    clean = np.flatnonzero(share < 0.2)
    best = clean[np.argsort(-np.minimum(distance[clean], half + 2 * pair.fwhm), kind="stable")][:SKY_STAMPS]
    return places[best].astype(np.int64)


def cut(pair: Pair, stars: NDArray[np.int64], sky: NDArray[np.int64], basis: Basis) -> Stamps:
    """Everything the fit needs of these places; pixels beyond the frame's border are not good."""
    ny, nx = pair.target.shape
    places = np.concatenate([stars, sky])
    half = pair.stamp_half
    wide = np.stack([_window(pair.source, x, y, half + basis.half) for x, y in places])
    # blank sky holds wings, which are smooth, and noise, which would pull the kernel towards zero
    blank = wide[len(stars) :]
    wide[len(stars) :] = ndimage.gaussian_filter(blank, (0, SKY_SMOOTHING, SKY_SMOOTHING), mode="nearest")
    target = np.stack([_window(pair.target, x, y, half) for x, y in places]).astype(float)
    offset = np.arange(-half, half + 1)
    yy, xx = places[:, 1, None] + offset, places[:, 0, None] + offset
    inside = ((yy >= 2) & (yy < ny - 2))[:, :, None] & ((xx >= 2) & (xx < nx - 2))[:, None, :]
    bad = pair.target_bad | pair.source_bad
    at = np.clip(yy, 0, ny - 1)[:, :, None], np.clip(xx, 0, nx - 1)[:, None, :]
    return Stamps(
        target=target,
        basis=basis_images(basis, wide, toeplitz_filters(basis, 2 * half + 1)),
        good=inside & ~bad[at],
        star=np.arange(len(places)) < len(stars),
        u=2 * places[:, 0] / (nx - 1) - 1,
        v=2 * places[:, 1] / (ny - 1) - 1,
        target_sky=pair.target_sky[places[:, 1], places[:, 0]].astype(float),
        source_sky=pair.source_sky[places[:, 1], places[:, 0]].astype(float),
    )


def _window(data: Plane, x: int, y: int, half: int) -> Plane:
    return window(data, Tile(y, y + 1, x, x + 1), half)
