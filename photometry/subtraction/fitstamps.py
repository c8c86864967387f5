"""Where the kernel is fitted: bright unsaturated stars spread over the frame, and pieces of blank sky between them."""

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from photometry.grow import grow
from photometry.mask import WORTHLESS, Bit
from photometry.psf_stars import brightest_of_each
from photometry.subtraction.basis import Basis, basis_images, toeplitz_filters
from photometry.subtraction.direct import convolve_rows
from photometry.subtraction.plate import Plate
from photometry.subtraction.solve import Stamps

Plane = NDArray[np.float32]
Stars = NDArray[np.void]
Flags = NDArray[np.bool_]

STAMP_HALF_FWHM = 2.2  # half-width of a stamp, in widths of the difference's PSF
STAMP_HALF_LIMITS = (10, 20)  # pixels
GRID_CELLS = 10  # across the frame's longer side
STARS_A_CELL = 8
MOST_STARS = 160
SKY_STAMPS = 64
MOST_BAD = 0.2  # of a sky stamp's pixels
SKY_SMOOTHING = 4.0  # pixels, sigma
MIN_SIGNAL = 7.0  # peak over the sky's sigma
MARGIN_PIXELS = 6  # of the border, in which no star is taken
CORE_PIXELS = 3  # round a star's middle, in which nothing may be bad
SPARE = 1.3  # of the stamps needed, how many are looked at
WORSE = np.uint8(WORTHLESS | Bit.EDGE)


@dataclass(frozen=True)
class Pair:
    """The two frames as the fit sees them, on one grid.

    wide: the kernel (k, k) that the target is convolved with first, None: not at all; target_core, source_core: pixels round
    a hole that its filling may spoil; fwhm: of the difference's PSF.
    """

    target: Plate
    source: Plate
    wide: Plane | None
    target_core: int
    source_core: int
    fwhm: float

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)"""
        return self.target.shape

    @property
    def stamp_half(self) -> int:
        """Half-width of the stamps, pixels."""
        return int(np.clip(np.ceil(STAMP_HALF_FWHM * self.fwhm), *STAMP_HALF_LIMITS))

    def target_at(self, x: int, y: int, half: int) -> tuple[Plane, Flags]:
        """(n, n) data round a pixel, and where not to look."""
        reach = 0 if self.wide is None else self.wide.shape[0] // 2
        data, bad = _look(self.target, x, y, half, reach, self.target_core)
        if self.wide is None:
            return data, bad
        out = np.empty((2 * half + 1, 2 * half + 1), np.float32)
        convolve_rows(data, self.wide[None], out.shape[1], out)
        return out, bad

    def source_at(self, x: int, y: int, half: int, reach: int) -> tuple[Plane, Flags]:
        """(n + 2 reach, n + 2 reach) data round a pixel, and where (n, n) not to look."""
        return _look(self.source, x, y, half, reach, self.source_core)


def _look(plate: Plate, x: int, y: int, half: int, reach: int, core: int) -> tuple[Plane, Flags]:
    """Data `half + reach` pixels round a pixel; what is worthless within `half`, grown by `core`."""
    most = half + max(reach, core)
    data, bits = plate.window(y - most, y + most + 1, x - most, x + most + 1)
    bad = grow((bits & WORSE) != 0, core)
    inner, outer = slice(most - half, most + half + 1), slice(most - half - reach, most + half + reach + 1)
    return np.ascontiguousarray(data[outer, outer]), bad[inner, inner]


def cut(pair: Pair, stars: Stars, basis: Basis, threads: Executor) -> Stamps:
    """Everything the fit needs: of bright clean stars spread over the frame, and of sky far from stars and masks.

    stars: x, y, flux.  Pixels beyond the frame's border are not good.
    """
    near, far = _star_places(stars, pair), _sky_places(stars, pair)
    looks = list(threads.map(lambda x, y: _look_at(pair, x, y, basis), *np.concatenate([near, far]).T.tolist()))
    seen = [look for look in looks[: len(near)] if _is_clean(look, pair, basis)]
    empty = [look for look in looks[len(near) :] if _is_open(look)]
    looks = seen[:MOST_STARS] + empty[:SKY_STAMPS]
    if not looks:
        return _no_stamps(pair, basis)
    count = min(len(seen), MOST_STARS)
    wide = np.stack([look.source for look in looks])
    # blank sky holds wings, which are smooth, and noise, which would pull the kernel towards zero
    wide[count:] = ndimage.gaussian_filter(wide[count:], (0, SKY_SMOOTHING, SKY_SMOOTHING), mode="nearest")
    x, y = np.array([look.x for look in looks]), np.array([look.y for look in looks])
    ny, nx = pair.shape
    return Stamps(
        target=np.stack([look.target for look in looks]).astype(float),
        columns=basis_images(basis, wide, toeplitz_filters(basis, 2 * pair.stamp_half + 1), threads),
        good=np.stack([look.good for look in looks]),
        star=np.arange(len(looks)) < count,
        u=2 * x / (nx - 1) - 1,
        v=2 * y / (ny - 1) - 1,
        target_sky=pair.target.noise.at(x, y),
        source_sky=pair.source.noise.at(x, y),
    )


@dataclass(frozen=True)
class _Look:
    """Round a pixel: target (n, n), source (n + 2 half-widths of the kernel, the same), good (n, n)."""

    x: int
    y: int
    target: Plane
    source: Plane
    good: Flags


def _look_at(pair: Pair, x: int, y: int, basis: Basis) -> _Look:
    half, (ny, nx) = pair.stamp_half, pair.shape
    target, spoilt = pair.target_at(x, y, half)
    source, also = pair.source_at(x, y, half, basis.half)
    rows, columns = np.arange(y - half, y + half + 1), np.arange(x - half, x + half + 1)
    inside = ((rows >= 2) & (rows < ny - 2))[:, None] & ((columns >= 2) & (columns < nx - 2))[None, :]
    return _Look(x, y, target, source, inside & ~spoilt & ~also)


def _star_places(stars: Stars, pair: Pair) -> NDArray[np.int64]:
    """(n, 2) integer places x, y of the brightest stars of each grid cell, apart; somewhat more than needed."""
    ny, nx = pair.shape
    side = max(max(ny, nx) / GRID_CELLS, 3 * pair.stamp_half)
    cell = (stars["y"] / side).astype(np.int64) * 1000 + (stars["x"] / side).astype(np.int64)
    chosen = brightest_of_each(cell, stars["flux"].astype(float), STARS_A_CELL)
    places = np.rint(np.stack([stars["x"][chosen], stars["y"][chosen]], axis=1)).astype(np.int64)
    inside = (places >= MARGIN_PIXELS).all(axis=1) & (places < (nx - MARGIN_PIXELS, ny - MARGIN_PIXELS)).all(axis=1)
    places = places[inside]
    close = cKDTree(places).query_pairs(CORE_PIXELS, p=np.inf) if len(places) else set()
    apart = np.ones(len(places), bool)
    apart[[fainter for _, fainter in close]] = False
    return np.asarray(places[apart][: int(SPARE * MOST_STARS)])


def _is_clean(look: _Look, pair: Pair, basis: Basis) -> bool:
    """Whether nothing near a star's middle is bad and it stands out in both frames."""
    middle, reach = pair.stamp_half, pair.stamp_half + basis.half
    if not look.good[middle - CORE_PIXELS : middle + CORE_PIXELS + 1, middle - CORE_PIXELS : middle + CORE_PIXELS + 1].all():
        return False
    at = (np.array([look.x]), np.array([look.y]))
    return all(
        float(data[m - 1 : m + 2, m - 1 : m + 2].max()) > MIN_SIGNAL * float(np.sqrt(plate.noise.at(*at)[0]))
        for data, m, plate in ((look.target, middle, pair.target), (look.source, reach, pair.source))
    )


def _sky_places(stars: Stars, pair: Pair) -> NDArray[np.int64]:
    """(n, 2) integer places x, y far from stars, spread evenly; somewhat more than needed."""
    ny, nx = pair.shape
    half = pair.stamp_half
    step = max(int(np.sqrt(nx * ny / (4 * SKY_STAMPS))), 2 * half)
    y, x = np.mgrid[half : ny - half : step, half : nx - half : step]
    places = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.int64)
    if len(places) and len(stars):
        distance, _ = cKDTree(np.stack([stars["x"], stars["y"]], axis=1)).query(places)
        places = places[np.argsort(-np.minimum(distance, half + 2 * pair.fwhm), kind="stable")]
    return places[: int(SPARE * SKY_STAMPS)]


def _is_open(look: _Look) -> bool:
    return bool(look.good.mean() > 1 - MOST_BAD)


def _no_stamps(pair: Pair, basis: Basis) -> Stamps:
    n, none = 2 * pair.stamp_half + 1, np.zeros(0)
    empty = np.zeros((0, n, n))
    return Stamps(
        empty, np.zeros((0, len(basis.kernels) + 1, n, n), np.float32), empty > 0, none > 0, none, none, none, none
    )
