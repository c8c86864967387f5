"""The point-spread function of a frame on its own pixel grid, a polynomial over the frame.

Guarantees: `PsfModel.at` sums to one everywhere.  Neighbours, cosmic rays and galaxies are clipped pixel by pixel and star
by star.  Fails with SubtractionFailedError where the frame has no star to measure.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.errors import SubtractionFailedError
from photometry.psf_stars import (
    FWHM_PER_SIGMA,
    SMALLEST_SIGMA,
    STARS_FOR_LINEAR,
    Album,
    Stamps,
    Stars,
    View,
    first_fwhm,
    pick,
    recentred,
    stellar,
)

BRIGHT_SIGMA = 8.0  # of the sky: the peak of a star that says something about the PSF
STARS_FOR_QUADRATIC = 40


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

    def at(self, x: float | NDArray[np.float64], y: float | NDArray[np.float64]) -> Stamps:
        """(k, k), unit sum, centred; of places (n,) each, (n, k, k)."""
        ny, nx = self.shape
        u, v = 2 * x / max(nx - 1, 1) - 1, 2 * y / max(ny - 1, 1) - 1
        factors = np.array([u**a * v**b for a, b in zip(self.powers_u, self.powers_v, strict=True)])
        return np.tensordot(factors, self.planes, axes=(0, 0))

    def covariance(self, x: float, y: float) -> NDArray[np.float64]:
        """(2, 2) pixels^2 of the core, axes (x, y)."""
        return core_covariance(self.at(x, y))

    @cached_property
    def fwhm(self) -> float:
        """Pixels, in the frame's middle: the Gaussian's with the core's covariance."""
        ny, nx = self.shape
        return float(FWHM_PER_SIGMA * np.linalg.det(self.covariance((nx - 1) / 2, (ny - 1) / 2)) ** 0.25)


def polynomial_powers(order: int) -> list[tuple[int, int]]:
    """(power of u, power of v) of each term up to the order, the constant first."""
    return [(total - b, b) for total in range(order + 1) for b in range(total + 1)]


def core_covariance(stamp: Stamps) -> NDArray[np.float64]:
    """Covariance of a star's core, pixels^2: second moments under a round Gaussian weight of the core's own half-maximum
    size (a pixel at least, for the grid's sake), the weight's share taken out as for a Gaussian.  SubtractionFailedError
    where there is no light.
    """
    k = stamp.shape[0] // 2
    fine = ndimage.zoom(stamp, 5, order=3)
    labels, _ = ndimage.label(fine > fine.max() / 2)
    area = float((labels == labels.flat[int(fine.argmax())]).sum()) * (stamp.size / fine.size)
    width2 = max(area / np.pi / (2 * np.log(2)), 1.0)
    yy, xx = np.mgrid[-k : k + 1, -k : k + 1].astype(float)
    weight = np.exp(-0.5 * (xx**2 + yy**2) / width2) * stamp
    xy = float((weight * xx * yy).sum())
    moments = np.array([[(weight * xx**2).sum(), xy], [xy, (weight * yy**2).sum()]])
    total = float(weight.sum())
    if not (total > 0 and np.linalg.det(moments / total) != 0):
        raise SubtractionFailedError(f"the PSF of the stars has no core: its light there sums to {total:.3g}")
    moments /= total
    inverse = np.linalg.inv(moments) - np.eye(2) / width2
    values, vectors = np.linalg.eigh(inverse)
    return np.asarray((vectors / np.clip(values, 1 / k**2, 1 / SMALLEST_SIGMA**2)) @ vectors.T)


def _aligned(view: View, x: NDArray[np.float64], y: NDArray[np.float64], half: int) -> tuple[Stamps, Stamps]:
    """Stamps with the stars' middles on the middle pixel (quintic splines), and their weights (0 where masked)."""
    xi, yi = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    cut, bad = view.cut(xi, yi, half + 1)
    raw = np.where(bad, 0.0, cut)
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


def _normalised(planes: Stamps) -> Stamps:
    """Plane 0 with unit sum, the others with none: so is the model's sum one everywhere."""
    total = planes.sum(axis=(1, 2))
    scale = total[0] if total[0] > 0 else 1.0
    planes = planes / scale
    planes[1:] -= (total[1:] / scale)[:, None, None] * planes[0]
    return planes


def fit_stamps(psf: PsfModel, x: NDArray[np.float64], y: NDArray[np.float64], rest: Stamps, weights: Stamps) -> PsfModel:
    """The model corrected by what it leaves of stars at x, y: rest (n, k, k) in shares of their flux, centred; weights
    alike.
    """
    ny, nx = psf.shape
    u, v = 2 * x / max(nx - 1, 1) - 1, 2 * y / max(ny - 1, 1) - 1
    design = np.stack([u**a * v**b for a, b in zip(psf.powers_u, psf.powers_v, strict=True)], axis=1)
    stars = int((weights.max(axis=(1, 2)) > 0).sum())
    return replace(psf, planes=_normalised(psf.planes + _fit_planes(rest, weights, design)), stars=stars)


def build_psf(view: View, stars: Stars, half: int | None = None, limit: int = 300) -> PsfModel:
    """The frame's PSF from its stars (structured x, y, flux, peak; pixels, 0-based).

    half: the stamps' half-width in pixels; by default 2.5 FWHM, 7 to 15.  SubtractionFailedError without a usable star.
    """
    tall = stars["peak"] > BRIGHT_SIGMA * np.sqrt(view.sky_variance)
    stars = stars[tall] if tall.any() else stars
    view = Album(view)
    fwhm = first_fwhm(view, stars)
    if half is None:
        half = int(np.clip(np.ceil(2.5 * fwhm), 7, 15))
    picked = pick(view, stars, half + 1, max(3 * fwhm, 6.0), limit)
    if len(picked) < 3:  # crowded or nearly empty: neighbours are left to the clipping
        picked = pick(view, stars, half + 1, max(1.2 * fwhm, 3.0), limit)
    if not len(picked):
        raise SubtractionFailedError(f"no unsaturated star among {len(stars)} to measure the PSF on")
    x, y, width = recentred(view, stars, picked, fwhm)
    ny, nx = view.shape
    keep = stellar(width, 2 * x / (nx - 1) - 1, 2 * y / (ny - 1) - 1)
    if not keep.any():
        raise SubtractionFailedError(f"none of {len(picked)} sources is as wide as a star: no PSF")
    x, y = x[keep], y[keep]
    stamps, weights = _aligned(view, x, y, half)
    return _robust_model(view, x, y, stamps, weights)


def _robust_model(view: View, x: NDArray[np.float64], y: NDArray[np.float64], stamps: Stamps, weights: Stamps) -> PsfModel:
    """Alternate fluxes and planes, clipping pixels against the model (4 sigma plus a share of the star) and bad stars."""
    n = len(x)
    order = 2 if n >= STARS_FOR_QUADRATIC else 1 if n >= STARS_FOR_LINEAR else 0
    powers = polynomial_powers(order)
    ny, nx = view.shape
    u, v = 2 * x / max(nx - 1, 1) - 1, 2 * y / max(ny - 1, 1) - 1
    design = np.stack([u**a * v**b for a, b in powers], axis=1)
    sky = view.sky_variance
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
        noise = np.sqrt(sky + light / view.gain)
        resid = stamps - flux[:, None, None] * model
        good = (weights > 0) & (np.abs(resid) < 4 * noise + 0.05 * light + 0.002 * light.max(axis=(1, 2))[:, None, None])
        lost = 1 - good.mean(axis=(1, 2))
        star_good = lost <= max(0.3, float(np.median(lost)) + 0.1)
        # the weight of a star: its flux^2 over a noise that grows with the flux, so that no single star rules
        level = flux**2 / (sky + (0.02 * flux * float(model.max())) ** 2)
        w = good * (star_good * level)[:, None, None]
        planes = _fit_planes(stamps / flux[:, None, None], w, design)
        planes = _normalised(planes)
        model = np.tensordot(design, planes, axes=1)
    return PsfModel(planes, tuple(a for a, _ in powers), tuple(b for _, b in powers), (ny, nx), stars=int(star_good.sum()))
