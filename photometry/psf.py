"""The point-spread function of a frame on its own pixel grid, a polynomial over the frame.

Guarantees: `PsfModel.at` sums to one everywhere.  Neighbours, cosmic rays and galaxies are clipped pixel by pixel and star
by star.  Fails with SubtractionFailedError where the frame has no star to measure.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from photometry.errors import SubtractionFailedError
from photometry.image import Image

Stars = NDArray[np.void]
Stamps = NDArray[np.float64]

FWHM_PER_SIGMA = 2.3548
BRIGHT_SIGMA = 8.0  # of the sky: the peak of a star that says something about the PSF
STELLAR_SHARE = 0.2  # how many stars there are at least for the most galaxies of one width
SMALLEST_SIGMA = 0.6  # pixels: what is narrower is a hot pixel or a cosmic ray
TREND_SPREAD = 0.25  # of the width: how far it may change over the frame either way
STELLAR_SPREAD = 0.12  # of the width: how far a star's may be from the middle
STARS_FOR_LINEAR, STARS_FOR_QUADRATIC = 12, 40


@dataclass(frozen=True)
class PsfModel:
    """Polynomial stamps: P(x, y) = sum of planes[i] u^powers_u[i] v^powers_v[i], u, v = 2 (x, y) / (n - 1) - 1.

    planes (terms, k, k) float64, k odd, the star's middle on the stamp's middle pixel; plane 0 is the constant term and sums
    to 1, the others to 0.  shape is the frame's (ny, nx).
    """

    planes: Stamps
    powers_u: tuple[int, ...]
    powers_v: tuple[int, ...]
    shape: tuple[int, int]
    stars: int = 0

    @property
    def half(self) -> int:
        """The stamps are 2 half + 1 pixels wide."""
        return int(self.planes.shape[-1] // 2)

    def at(self, x: float, y: float) -> Stamps:
        """(k, k), unit sum, centred."""
        ny, nx = self.shape
        u, v = 2 * x / max(nx - 1, 1) - 1, 2 * y / max(ny - 1, 1) - 1
        factors = np.array([u**a * v**b for a, b in zip(self.powers_u, self.powers_v, strict=True)])
        return np.tensordot(factors, self.planes, axes=1)

    def covariance(self, x: float, y: float) -> NDArray[np.float64]:
        """(2, 2) pixels^2 of the core, axes (x, y)."""
        return core_covariance(self.at(x, y))

    def fwhm(self) -> float:
        """Pixels, in the frame's middle: the Gaussian's with the core's covariance."""
        ny, nx = self.shape
        return float(FWHM_PER_SIGMA * np.linalg.det(self.covariance((nx - 1) / 2, (ny - 1) / 2)) ** 0.25)


def polynomial_powers(order: int) -> list[tuple[int, int]]:
    """(power of u, power of v) of each term up to the order, the constant first."""
    return [(total - b, b) for total in range(order + 1) for b in range(total + 1)]


def core_covariance(stamp: Stamps) -> NDArray[np.float64]:
    """Covariance of a star's core, pixels^2: second moments under a round Gaussian weight of the core's own half-maximum
    size (a pixel at least, for the grid's sake), the weight's share taken out as for a Gaussian.
    """
    k = stamp.shape[0] // 2
    fine = ndimage.zoom(stamp, 5, order=3)
    labels, _ = ndimage.label(fine > fine.max() / 2)
    area = float((labels == labels.flat[int(fine.argmax())]).sum()) * (stamp.size / fine.size)
    width2 = max(area / np.pi / (2 * np.log(2)), 1.0)
    yy, xx = np.mgrid[-k : k + 1, -k : k + 1].astype(float)
    weight = np.exp(-0.5 * (xx**2 + yy**2) / width2) * stamp
    xy = float((weight * xx * yy).sum())
    moments = np.array([[(weight * xx**2).sum(), xy], [xy, (weight * yy**2).sum()]]) / weight.sum()
    inverse = np.linalg.inv(moments) - np.eye(2) / width2
    values, vectors = np.linalg.eigh(inverse)
    return np.asarray((vectors / np.clip(values, 1 / k**2, 1 / SMALLEST_SIGMA**2)) @ vectors.T)


def cut_stamps(data: NDArray[Any], xi: NDArray[np.int64], yi: NDArray[np.int64], half: int) -> NDArray[Any]:
    """(n, 2 half + 1, 2 half + 1) round integer places, each at least `half` pixels from the border."""
    offset = np.arange(-half, half + 1)
    return np.asarray(data[yi[:, None, None] + offset[None, :, None], xi[:, None, None] + offset[None, None, :]])


def _bright(image: Image, stars: Stars) -> Stars:
    """The stars whose peaks stand well above the sky's noise; all where there are none."""
    ny, nx = image.shape
    clean = image.variance[::5, ::5][image.mask[::5, ::5] == 0]
    sigma = float(np.sqrt(np.median(clean))) if clean.size else 1.0
    x = np.clip(np.nan_to_num(np.rint(stars["x"])), 1, nx - 2).astype(np.int64)
    y = np.clip(np.nan_to_num(np.rint(stars["y"])), 1, ny - 2).astype(np.int64)
    tall = cut_stamps(image.data, x, y, 1).max(axis=(1, 2)) > BRIGHT_SIGMA * sigma
    return stars[tall] if tall.any() else stars


def _pick(image: Image, stars: Stars, half: int, reach: float, limit: int) -> NDArray[np.int64]:
    """Indices of the brightest isolated, unmasked stars, spread over the frame: at most `limit`."""
    ny, nx = image.shape
    xy = np.stack([stars["x"], stars["y"]], axis=1).astype(float)
    flux = stars["flux"].astype(float)
    inside = (xy > half + 1).all(axis=1) & (xy[:, 0] < nx - half - 2) & (xy[:, 1] < ny - half - 2)
    tree = cKDTree(xy)
    cells: dict[tuple[int, int], int] = {}
    per_cell = max(1, -(-limit // 64))
    picked: list[int] = []
    core = max(2, round(reach / 2))
    for i in np.argsort(-flux):
        if not inside[i] or len(picked) >= limit:
            continue
        near = [j for j in tree.query_ball_point(xy[i], reach) if j != i]
        if near and flux[near].max() > 0.1 * flux[i]:
            continue
        x, y = int(np.rint(xy[i, 0])), int(np.rint(xy[i, 1]))
        if image.mask[y - core : y + core + 1, x - core : x + core + 1].any():
            continue
        cell = int(8 * x / nx), int(8 * y / ny)
        if cells.get(cell, 0) < per_cell:
            cells[cell] = cells.get(cell, 0) + 1
            picked.append(int(i))
    return np.array(picked, np.int64)


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


def _stellar(width: NDArray[np.float64], u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
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


def _aligned(image: Image, x: NDArray[np.float64], y: NDArray[np.float64], half: int) -> tuple[Stamps, Stamps]:
    """Stamps with the stars' middles on the middle pixel (quintic splines), and their weights (0 where masked)."""
    xi, yi = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    raw = cut_stamps(image.data, xi, yi, half + 1).astype(float)
    bad = (cut_stamps(image.mask, xi, yi, half + 1) != 0) | ~np.isfinite(raw)
    raw[bad] = 0
    stamps = np.empty((len(x), 2 * half + 1, 2 * half + 1))
    for i in range(len(x)):
        moved = ndimage.shift(raw[i], (yi[i] - y[i], xi[i] - x[i]), order=5, mode="nearest")
        stamps[i] = moved[1:-1, 1:-1]
    grown = ndimage.binary_dilation(bad, structure=np.ones((1, 3, 3), bool))[:, 1:-1, 1:-1]
    return stamps, np.where(grown, 0.0, 1.0)


def _fit_planes(stamps: Stamps, weights: Stamps, design: NDArray[np.float64]) -> Stamps:
    """Weighted least squares of every pixel over the stars: (terms, k, k)."""
    n, k, _ = stamps.shape
    w, d = weights.reshape(n, -1), stamps.reshape(n, -1)
    terms = design.shape[1]
    outer = (design[:, :, None] * design[:, None, :]).reshape(n, -1)
    normal = (w.T @ outer).reshape(-1, terms, terms)
    right = (w * d).T @ design
    ridge = 1e-6 * np.trace(normal, axis1=1, axis2=2)[:, None, None] + 1e-12
    solved = np.linalg.solve(normal + ridge * np.eye(terms), right[:, :, None])[:, :, 0]
    return np.ascontiguousarray(solved.T.reshape(terms, k, k))


def build_psf(image: Image, stars: Stars, half: int | None = None, limit: int = 300) -> PsfModel:
    """The frame's PSF from its stars (structured x, y, flux; pixels, 0-based); image background-subtracted.

    half: the stamps' half-width in pixels; by default 2.5 FWHM, 7 to 15.  SubtractionFailedError without a usable star.
    """
    stars = _bright(image, stars)
    fwhm = _first_fwhm(image, stars)
    if half is None:
        half = int(np.clip(np.ceil(2.5 * fwhm), 7, 15))
    picked = _pick(image, stars, half + 1, max(3 * fwhm, 6.0), limit)
    if len(picked) < 3:  # crowded or nearly empty: neighbours are left to the clipping
        picked = _pick(image, stars, half + 1, max(1.2 * fwhm, 3.0), limit)
    if not len(picked):
        raise SubtractionFailedError(f"no unsaturated star among {len(stars)} to measure the PSF on")
    x, y, width = _recentred(image, stars, picked, fwhm)
    ny, nx = image.shape
    keep = _stellar(width, 2 * x / (nx - 1) - 1, 2 * y / (ny - 1) - 1)
    x, y = x[keep], y[keep]
    stamps, weights = _aligned(image, x, y, half)
    return _robust_model(image, x, y, stamps, weights)


def _recentred(
    image: Image, stars: Stars, picked: NDArray[np.int64], fwhm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Refined places and widths of the picked stars."""
    xi = np.rint(stars["x"][picked]).astype(np.int64)
    yi = np.rint(stars["y"][picked]).astype(np.int64)
    core = max(3, min(7, round(1.5 * fwhm)))
    cores = np.nan_to_num(cut_stamps(image.data, xi, yi, core).astype(float))
    dx, dy, width = _centroids(cores, fwhm / FWHM_PER_SIGMA)
    return xi + dx, yi + dy, width


def _first_fwhm(image: Image, stars: Stars) -> float:
    """Pixels: from the half-maximum areas of bright unmasked stars, at their own peaks."""
    ny, nx = image.shape
    half = 12
    inside = (stars["x"] > half) & (stars["x"] < nx - half - 1) & (stars["y"] > half) & (stars["y"] < ny - half - 1)
    order = np.flatnonzero(inside)[np.argsort(-stars["flux"][inside])][:400]
    xi, yi = np.rint(stars["x"][order]).astype(np.int64), np.rint(stars["y"][order]).astype(np.int64)
    clean = ~(cut_stamps(image.mask, xi, yi, 4) != 0).any(axis=(1, 2)) if len(order) else np.zeros(0, bool)
    xi, yi = xi[clean][:100], yi[clean][:100]
    if not len(xi):
        raise SubtractionFailedError(f"no unmasked star among {len(stars)} to measure the seeing on")
    areas = []
    for x, y in zip(xi, yi, strict=True):
        stamp = image.data[y - half : y + half + 1, x - half : x + half + 1]
        peak = float(stamp[half - 2 : half + 3, half - 2 : half + 3].max())
        fine = ndimage.zoom(stamp, 3, order=1) > peak / 2
        labels, _ = ndimage.label(fine)
        areas.append(float((labels == labels[fine.shape[0] // 2, fine.shape[1] // 2]).sum()) / 9)
    widths = 2 * np.sqrt(np.array(areas) / np.pi)
    stars_like = widths[widths > SMALLEST_SIGMA * FWHM_PER_SIGMA]
    return float(np.clip(_narrow_peak(stars_like if len(stars_like) else widths), 1.5, 12))


def _robust_model(image: Image, x: NDArray[np.float64], y: NDArray[np.float64], stamps: Stamps, weights: Stamps) -> PsfModel:
    """Alternate fluxes and planes, clipping pixels against the model (4 sigma plus a share of the star) and bad stars."""
    n = len(x)
    order = 2 if n >= STARS_FOR_QUADRATIC else 1 if n >= STARS_FOR_LINEAR else 0
    powers = polynomial_powers(order)
    ny, nx = image.shape
    u, v = 2 * x / max(nx - 1, 1) - 1, 2 * y / max(ny - 1, 1) - 1
    design = np.stack([u**a * v**b for a, b in powers], axis=1)
    clean = image.variance[::5, ::5][image.mask[::5, ::5] == 0]
    sky = float(np.median(clean)) if clean.size else 1.0
    flux = np.maximum(stamps.sum(axis=(1, 2)), 1e-6)
    model = np.broadcast_to(np.median(stamps / flux[:, None, None], axis=0), stamps.shape)
    good = weights > 0
    star_good = np.ones(n, bool)
    planes = np.zeros((len(powers), *stamps.shape[1:]))
    for _ in range(5):
        use = np.where(good, 1.0, 0.0)
        flux = (use * model * stamps).sum(axis=(1, 2)) / np.maximum((use * model**2).sum(axis=(1, 2)), 1e-12)
        flux = np.maximum(flux, 1e-6)
        light = flux[:, None, None] * np.maximum(model, 0)
        noise = np.sqrt(sky + light / image.gain)
        resid = stamps - flux[:, None, None] * model
        good = (weights > 0) & (np.abs(resid) < 4 * noise + 0.05 * light + 0.002 * light.max(axis=(1, 2))[:, None, None])
        lost = 1 - good.mean(axis=(1, 2))
        star_good = lost <= max(0.3, float(np.median(lost)) + 0.1)
        # the weight of a star: its flux^2 over a noise that grows with the flux, so that no single star rules
        level = flux**2 / (sky + (0.02 * flux * float(model.max())) ** 2)
        w = good * (star_good * level)[:, None, None]
        planes = _fit_planes(stamps / flux[:, None, None], w, design)
        total = planes.sum(axis=(1, 2))
        scale = total[0] if total[0] > 0 else 1.0
        planes = planes / scale
        planes[1:] -= (total[1:] / scale)[:, None, None] * planes[0]
        model = np.tensordot(design, planes, axes=1)
    return PsfModel(planes, tuple(a for a, _ in powers), tuple(b for _, b in powers), (ny, nx), stars=int(star_good.sum()))
