"""Which stars a PSF is measured on: bright, alone, unmasked, spread over the frame, and stars indeed.

Galaxies and blends are broader than the stars' narrow peak of widths, cosmic rays and hot pixels sharper.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from photometry.errors import SubtractionFailedError

Stars = NDArray[np.void]
Stamps = NDArray[np.float64]

FWHM_PER_SIGMA = 2.3548
STARS_FOR_LINEAR = 12  # to follow a slope over the frame
STELLAR_SHARE = 0.2  # how many stars there are at least for the most galaxies of one width
SMALLEST_SIGMA = 0.6  # pixels: what is narrower is a hot pixel or a cosmic ray
TREND_SPREAD = 0.25  # of the width: how far it may change over the frame either way
STELLAR_SPREAD = 0.12  # of the width: how far a star's may be from the middle
CELLS = 8  # along each side, over which the stars are spread
TRIED = 8  # stars tried for each that is taken
ALBUM_HALF = 18  # pixels: the largest stamp and what a refined place may be off
NEAR = (0, -1, 1, -2, 2)
SEEING_STARS, SEEING_TRIED = 50, 100


class View(Protocol):
    """A frame without its sky, of which pieces can be looked at.

    sky_variance: of a typical blank pixel, unit^2.  cut: data and flagged pixels, (n, 2 half + 1, 2 half + 1) each, round
    integer places at least `half` pixels from the border.
    """

    @property
    def shape(self) -> tuple[int, int]: ...
    @property
    def gain(self) -> float: ...
    @property
    def sky_variance(self) -> float: ...
    def cut(
        self, x: NDArray[np.int64], y: NDArray[np.int64], half: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]: ...


class Album:
    """A view that reads each star once, and cuts what is asked for of it later from that."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._seen: dict[tuple[int, int], tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}
        self.shape, self.gain, self.sky_variance = view.shape, view.gain, view.sky_variance

    def cut(self, x: NDArray[np.int64], y: NDArray[np.int64], half: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """As `View.cut`; half <= ALBUM_HALF."""
        size = 2 * half + 1
        data, masked = np.empty((len(x), size, size), np.float32), np.empty((len(x), size, size), bool)
        for i, place in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
            (a, b), (stamp, flags) = self._find(*place, ALBUM_HALF - half)
            rows = slice(place[1] - b + ALBUM_HALF - half, place[1] - b + ALBUM_HALF + half + 1)
            columns = slice(place[0] - a + ALBUM_HALF - half, place[0] - a + ALBUM_HALF + half + 1)
            data[i], masked[i] = stamp[rows, columns], flags[rows, columns]
        return data, masked

    def _find(self, x: int, y: int, most: int) -> tuple[tuple[int, int], tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        """The place, at most so many pixels away, and the stamp that was read there."""
        for place in ((x + dx, y + dy) for dx in NEAR for dy in NEAR if max(abs(dx), abs(dy)) <= most):
            if place in self._seen:
                return place, self._seen[place]
        data, masked = self._view.cut(np.array([x]), np.array([y]), ALBUM_HALF)
        self._seen[x, y] = data[0], masked[0]
        return (x, y), self._seen[x, y]


def pick(view: View, stars: Stars, half: int, reach: float, limit: int) -> NDArray[np.int64]:
    """Indices of the brightest isolated, unmasked stars, spread over the frame: at most `limit`."""
    ny, nx = view.shape
    xy = np.stack([stars["x"], stars["y"]], axis=1).astype(float)
    flux = stars["flux"].astype(float)
    inside = (xy > half + 1).all(axis=1) & (xy[:, 0] < nx - half - 2) & (xy[:, 1] < ny - half - 2)
    tree = cKDTree(xy)
    cells: dict[int, int] = {}
    cell = (CELLS * xy[:, 0] / nx).astype(np.int64) * CELLS + (CELLS * xy[:, 1] / ny).astype(np.int64)
    per_cell = max(1, -(-limit // CELLS**2))
    picked: list[int] = []
    core = max(2, round(reach / 2))
    for i in brightest_of_each(cell, flux, TRIED * per_cell):
        if not inside[i] or len(picked) >= limit or cells.get(int(cell[i]), 0) >= per_cell:
            continue
        near = [j for j in tree.query_ball_point(xy[i], reach) if j != i]
        if near and flux[near].max() > 0.1 * flux[i]:
            continue
        _, masked = view.cut(np.rint(xy[i : i + 1, 0]).astype(np.int64), np.rint(xy[i : i + 1, 1]).astype(np.int64), core)
        if not masked.any():
            cells[int(cell[i])] = cells.get(int(cell[i]), 0) + 1
            picked.append(int(i))
    return np.array(picked, np.int64)


def brightest_of_each(cell: NDArray[np.int64], flux: NDArray[np.float64], most: int) -> list[int]:
    """Indices of at most so many of each cell's stars, the brightest first."""
    order = np.lexsort((-flux, cell))
    starts = np.r_[0, np.flatnonzero(np.diff(cell[order])) + 1] if len(order) else np.zeros(0, np.int64)
    rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    chosen = order[rank < most]
    return [int(i) for i in chosen[np.argsort(-flux[chosen], kind="stable")]]


def _centroids(stamps: Stamps, sigma: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(dx, dy, width^2) of each stamp: the Gaussian-weighted centroid, and the variance on one axis."""
    k = stamps.shape[-1] // 2
    axis = np.arange(-k, k + 1.0)
    dx = dy = np.zeros(len(stamps))
    width = np.zeros(len(stamps))
    for _ in range(8):
        wx = np.exp(-0.5 * ((axis - dx[:, None]) / sigma) ** 2)
        wy = np.exp(-0.5 * ((axis - dy[:, None]) / sigma) ** 2)
        total = np.einsum("nyx,ny,nx->n", stamps, wy, wx)
        total = np.where(total > 0, total, np.inf)
        step_x = np.einsum("nyx,ny,nx->n", stamps, wy, wx * (axis - dx[:, None])) / total
        step_y = np.einsum("nyx,ny,nx->n", stamps, wy * (axis - dy[:, None]), wx) / total
        second = np.einsum("nyx,ny,nx->n", stamps, wy * (axis - dy[:, None]) ** 2, wx)
        second += np.einsum("nyx,ny,nx->n", stamps, wy, wx * (axis - dx[:, None]) ** 2)
        moment = np.clip(second / total, 0, 1.9 * sigma**2)
        width = sigma**2 * moment / (2 * sigma**2 - moment)  # the weight's own share taken out, as for a Gaussian
        dx = np.clip(dx + 1.8 * step_x, -1.5, 1.5)
        dy = np.clip(dy + 1.8 * step_y, -1.5, 1.5)
    return dx, dy, width


def _narrow_peak(widths: NDArray[np.float64]) -> float:
    """The stars' width among those of stars, galaxies and blends: the narrowest 15 % that holds a fair share of them."""
    w = np.sort(widths)
    if len(w) < 4:
        return float(w[len(w) // 2 if len(w) == 1 else 0])
    members = np.searchsorted(w, 1.15 * w, side="right") - np.arange(len(w))
    enough = members >= min(max(3.0, STELLAR_SHARE * members.max()), float(members.max()))
    first = int(np.argmax(enough))
    # from there on to where it is densest within the next 15 %
    last = int(np.searchsorted(w, 1.15 * w[first], side="right"))
    best = first + int(np.argmax(members[first:last]))
    return float(np.median(w[best : best + members[best]]))


def stellar(width: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which widths^2 belong to the narrow peak of the stars; the peak may lie at another width across the frame."""
    good = np.isfinite(width) & (width > SMALLEST_SIGMA**2)
    if good.sum() < 2:
        return np.asarray(good)
    root = np.sqrt(np.where(good, width, 1.0))
    model = np.full(len(root), _narrow_peak(root[good]))
    keep = good & (np.abs(root / model - 1) < TREND_SPREAD)
    design = np.stack([np.ones_like(u), u, v], axis=1)
    for _ in range(4):
        if keep.sum() < STARS_FOR_LINEAR:
            break
        model = design @ np.linalg.lstsq(design[keep], root[keep], rcond=None)[0]
        keep = good & (np.abs(root / np.maximum(model, SMALLEST_SIGMA) - 1) < STELLAR_SPREAD)
    return np.asarray(good & (np.abs(root / np.maximum(model, SMALLEST_SIGMA) - 1) < STELLAR_SPREAD))


def recentred(
    view: View, stars: Stars, picked: NDArray[np.int64], fwhm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Refined places and widths of the picked stars."""
    xi = np.rint(stars["x"][picked]).astype(np.int64)
    yi = np.rint(stars["y"][picked]).astype(np.int64)
    core = max(3, min(7, round(1.5 * fwhm)))
    cores = view.cut(xi, yi, core)[0].astype(float)
    dx, dy, width = _centroids(cores, fwhm / FWHM_PER_SIGMA)
    return xi + dx, yi + dy, width


def first_fwhm(view: View, stars: Stars) -> float:
    """Pixels: from the half-maximum areas of bright unmasked stars, at their own peaks."""
    ny, nx = view.shape
    half = 12
    inside = (stars["x"] > half) & (stars["x"] < nx - half - 1) & (stars["y"] > half) & (stars["y"] < ny - half - 1)
    order = np.flatnonzero(inside)[np.argsort(-stars["flux"][inside])]
    xi = yi = np.zeros(0, np.int64)
    for first in range(0, len(order), SEEING_TRIED):  # the brightest are saturated
        some = stars[order[first : first + SEEING_TRIED]]
        x, y = np.rint(some["x"]).astype(np.int64), np.rint(some["y"]).astype(np.int64)
        clean = ~view.cut(x, y, 4)[1].any(axis=(1, 2))
        xi, yi = np.append(xi, x[clean])[:SEEING_STARS], np.append(yi, y[clean])[:SEEING_STARS]
        if len(xi) == SEEING_STARS:
            break
    if not len(xi):
        raise SubtractionFailedError(f"no unmasked star among {len(stars)} to measure the seeing on")
    areas = []
    for stamp in view.cut(xi, yi, half)[0]:
        peak = float(stamp[half - 2 : half + 3, half - 2 : half + 3].max())
        fine = ndimage.zoom(stamp, 3, order=1) > peak / 2
        labels, _ = ndimage.label(fine)
        areas.append(float((labels == labels[fine.shape[0] // 2, fine.shape[1] // 2]).sum()) / 9)
    widths = 2 * np.sqrt(np.array(areas) / np.pi)
    stars_like = widths[widths > SMALLEST_SIGMA * FWHM_PER_SIGMA]
    return float(np.clip(_narrow_peak(stars_like if len(stars_like) else widths), 1.5, 12))
