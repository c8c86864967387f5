"""The fit: stamps, weights, Gram matrices, and the kernel and sky that follow.

Each stamp keeps its weighted fp64 Gram matrix, so that clipping stamps and solving for the whole frame are sums.  Weights
come from a smooth model, never from the noisy pixel; pixels where something varies are weighted down to nothing.
"""

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from photometry.subtraction.basis import Basis
from photometry.subtraction.normal import Layout, assemble, layout_of, ridge, unattenuated

Array = NDArray[np.float64]
Single = NDArray[np.float32]

PIXEL_CLIP_SIGMA = 5.0
PIXEL_CLIP_SHARE = 0.02  # of the local flux
CORE_SHARE = 0.1  # of a stamp's brightest pixel: where its light is
USUAL = 1.5  # times what most stamps are off by is still usual
PIXEL_GROW = 5  # pixels
STAMP_SHARE = 0.02  # of a star's light that may be left before it counts as unlike the others
FEWEST_TO_CLIP = 10  # stamps of a kind; of fewer, the odd one is often the brightest, which knows best
STAMP_CLIP = 4.0  # robust sigmas of the stamps' chi2
REFITS = 5
STAMP_ROUNDS = 4  # of taking out stamps that are unlike the others, in each refit
FIRST_ORDER = 1  # at most, of the kernel that the first fit looks for
SETTLED_SHARE = 0.002  # of the pixels: when a refit changes fewer, the fit has settled
RIDGE_FLOOR = 0.05  # of what the source's noise would add


@dataclass(frozen=True)
class Stamps:
    """What is fitted.  target (s, n, n), good (s, n, n), star (s,) bool; u, v (s,): middles.

    columns (s, b + 1, n, n) float32: the source convolved with each basis kernel, and the constant 1, which is the sky's.
    target_sky, source_sky (s,): the blank sky's variance of each frame there.  Fluxes in each frame's own unit.
    """

    target: Array
    columns: Single
    good: NDArray[np.bool_]
    star: NDArray[np.bool_]
    u: Array
    v: Array
    target_sky: Array
    source_sky: Array


@dataclass(frozen=True)
class Noise:
    """Gains (electrons per unit) of the two frames; Gaussian widths (sigma, pixels) of the difference's PSF, of what the
    target was convolved with (0: nothing), and of the matching kernel.
    """

    target_gain: float
    source_gain: float
    psf_sigma: float
    target_sigma: float
    kernel_sigma: float

    def target_share(self) -> float:
        """Of the target's white variance that is left in a pixel."""
        return 1 / max(4 * np.pi * self.target_sigma**2, 1.0)


@dataclass(frozen=True)
class Kernel:
    """K(x, y) = sum of planes[j] u^a v^b, (a, b) = powers[j]; sky likewise (sky_terms, sky_powers); chi2 of the star stamps.

    kernel_sum is its mean sum over the frame, target units per source unit.
    """

    planes: Array
    powers: list[tuple[int, int]]
    sky_terms: Array
    sky_powers: list[tuple[int, int]]
    chi2: float
    stamps: int
    clipped: int
    order: int

    @property
    def kernel_sum(self) -> float:
        """Flux scale of target over source, mean over the frame (its polynomial's mean)."""
        mean = np.array([(1 / (a + 1) if a % 2 == 0 else 0) * (1 / (b + 1) if b % 2 == 0 else 0) for a, b in self.powers])
        return float((self.planes.sum(axis=(1, 2)) * mean).sum())

    def at(self, u: float, v: float) -> Array:
        """(k, k)"""
        return np.tensordot(np.array([u**a * v**b for a, b in self.powers]), self.planes, axes=1)


def frame_uv(shape: tuple[int, int], x: NDArray[np.generic], y: NDArray[np.generic]) -> tuple[Array, Array]:
    """u, v = 2 (x, y) / (n - 1) - 1: -1 ... 1 over the frame."""
    ny, nx = shape
    return 2 * np.asarray(x, float) / max(nx - 1, 1) - 1, 2 * np.asarray(y, float) / max(ny - 1, 1) - 1


def _grams(columns: Single, target: Array, weights: Array, threads: Executor) -> tuple[Array, Array, Array]:
    """Weighted (s, b + 1, b + 1), (s, b + 1), (s,): columns by columns, columns by target, target by target."""
    s = len(columns)
    gram = np.empty((s, columns.shape[1], columns.shape[1]))
    right = np.empty((s, columns.shape[1]))

    def fill(i: int) -> None:
        plain = columns[i].astype(float)
        weighted = plain * weights[i]
        np.matmul(weighted, plain.T, out=gram[i])
        np.matmul(weighted, target[i], out=right[i])

    for _ in threads.map(fill, range(s)):
        pass
    return gram, right, (weights * target**2).sum(axis=1)


def _noise_grams(stamps: Stamps, basis: Basis, light: Array, weights: Array, scale: float, noise: Noise) -> Array:
    """(s, b + 1, b + 1): what the source's noise alone adds to the Gram matrices on average."""
    b = len(basis.kernels)
    flat = basis.kernels.reshape(b, -1)
    own = stamps.source_sky[:, None] + np.maximum(light, 0) / (scale * noise.source_gain)
    mine = np.where(stamps.star[:, None], weights, 0)  # the sky stamps' source is smoothed
    out = np.zeros((len(light), b + 1, b + 1))
    out[:, :b, :b] = (mine * own).sum(axis=1)[:, None, None] * (flat @ flat.T)
    return out


def _predict(columns: Single, phi: Array, layout: Layout, answer: Array) -> tuple[Array, Array]:
    """Matched source light and sky of each stamp, (s, pixels) each."""
    spread = np.zeros((columns.shape[1], phi.shape[1]))
    spread[layout.n, layout.j] = answer
    mine = phi @ spread.T
    light = np.matmul(mine[:, None, :-1].astype(np.float32), columns[:, :-1])[:, 0].astype(float)
    return light, np.broadcast_to(mine[:, -1:], light.shape)


def _variances(stamps: Stamps, light: Array, scale: float, noise: Noise) -> tuple[Array, Array]:
    """(s, pixels) target units^2, white: of the target's sky and light, and of the source's before the kernel smooths it."""
    light = np.maximum(light, 0)
    own = stamps.target_sky[:, None] + light / noise.target_gain
    through = stamps.source_sky[:, None] * scale**2 + scale * light / noise.source_gain
    return own, through


def fit(stamps: Stamps, basis: Basis, order: int, background_order: int, noise: Noise, threads: Executor) -> Kernel:
    """The kernel and sky that take the source to the target over all stamps; see the module's promise."""
    shape = stamps.target.shape
    columns = stamps.columns.reshape(*stamps.columns.shape[:2], -1)
    target = stamps.target.reshape(shape[0], -1)
    good = stamps.good.reshape(shape[0], -1)
    scale = _first_scale(columns[:, 0], target, good & stamps.star[:, None])
    light = scale * columns[:, 0].astype(float)
    sharpness = float((basis.kernels[0] ** 2).sum())
    clean, keep, chi2 = good, np.ones(shape[0], bool), np.ones(shape[0])
    for step in range(REFITS):
        # at first only what varies is looked for, and a lower order shows that
        layout = layout_of(len(basis.kernels), order if step else min(order, FIRST_ORDER), background_order)
        phi = np.stack([stamps.u**a * stamps.v**b for a, b in layout.powers], axis=1)
        own, through = _variances(stamps, light, scale, noise)
        weights = np.where(clean, 1 / (own * noise.target_share() + through * sharpness), 0)
        sums = _Sums(*_grams(columns, target, weights, threads), _noise_grams(stamps, basis, light, weights, scale, noise))
        count = np.maximum(clean.sum(axis=1), 1)
        for _ in range(STAMP_ROUNDS if step else 1):
            answer = sums.solve(keep, phi, layout, float(clean[keep].sum()))
            light, sky = _predict(columns, phi, layout, answer)
            chi2 = (weights * (target - light - sky) ** 2).sum(axis=1) / count
            allowed = (weights * (STAMP_SHARE * light) ** 2).sum(axis=1) / count
            fine = _unclipped(chi2 - allowed, stamps.star, clean, step)
            if (fine == keep).all():
                break
            keep = fine
        kernels = _planes(basis, layout, answer)
        scale = float(kernels[0].sum())
        sharpness = float((kernels[0] ** 2).sum()) / max(scale**2, 1e-30)
        before = clean
        clean = good & ~_varying((target - light - sky).reshape(shape), light.reshape(shape), own, through, noise)
        if step and (before != clean).mean() < SETTLED_SHARE:
            break
    return _result(basis, layout, answer, stamps, keep, chi2, order)


@dataclass(frozen=True)
class _Sums:
    """Of each stamp: gram (s, b + 1, b + 1), right (s, b + 1), square (s,), and what noise alone adds to the gram."""

    gram: Array
    right: Array
    square: Array
    alone: Array

    def solve(self, keep: NDArray[np.bool_], phi: Array, layout: Layout, pixels: float) -> Array:
        """The unknowns from the stamps that are kept, which have so many pixels."""
        right = self.right[keep]
        matrix, vector = assemble(self.gram[keep], right, phi[keep], layout)
        matrix = unattenuated(matrix, assemble(self.alone[keep], right, phi[keep], layout)[0])
        floor = RIDGE_FLOOR * float(np.trace(self.alone[keep].sum(axis=0))) / (right.shape[1] - 1)
        return ridge(matrix, vector, float(self.square[keep].sum()), pixels, layout, floor)


def _first_scale(lead: Single, target: Array, good: NDArray[np.bool_]) -> float:
    """Target over source flux: the median of the star stamps' own ratios."""
    top = np.where(good, lead * target, 0).sum(axis=1)
    bottom = np.where(good, lead**2, 0).sum(axis=1)
    have = bottom > 0
    return float(np.median(top[have] / bottom[have])) if have.any() else 1.0


def _unclipped(chi2: Array, star: NDArray[np.bool_], clean: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
    """Stamps whose chi2 is like the others' of their kind, and that have pixels left."""
    enough = clean.sum(axis=1) > 0.3 * clean.shape[1]
    keep = enough.copy()
    for kind in (star, ~star):
        mine = kind & enough
        if mine.sum() < FEWEST_TO_CLIP:
            continue
        middle = float(np.median(chi2[mine]))
        spread = max(1.4826 * float(np.median(np.abs(chi2[mine] - middle))), 0.05 * abs(middle))
        keep &= ~kind | (chi2 < middle + STAMP_CLIP * spread * (1.5 if step == 0 else 1))
    return np.asarray(keep if keep.any() else enough)


def _varying(resid: Array, light: Array, own: Array, through: Array, noise: Noise) -> NDArray[np.bool_]:
    """(s, pixels): where something varies: the smoothed residual beyond the noise and a share of the flux, grown."""
    s = noise.psf_sigma
    smooth = ndimage.gaussian_filter(resid, (0, s, s), mode="constant")
    smoothed = own / (s**2 + noise.target_sigma**2) + through / (s**2 + noise.kernel_sigma**2)
    wide = (0, s / np.sqrt(2), s / np.sqrt(2))
    sigma = np.sqrt(ndimage.gaussian_filter(smoothed.reshape(resid.shape), wide) / (4 * np.pi))
    level = ndimage.gaussian_filter(np.maximum(light, 0), (0, s, s), mode="constant")
    excess = np.abs(smooth) - PIXEL_CLIP_SIGMA * sigma
    hit = excess > _common_share(excess, level, sigma) * level
    disc = np.hypot(*np.mgrid[-PIXEL_GROW : PIXEL_GROW + 1, -PIXEL_GROW : PIXEL_GROW + 1]) <= PIXEL_GROW
    grown = ndimage.binary_dilation(hit, structure=disc[None]) if hit.any() else hit
    return np.asarray(grown).reshape(len(resid), -1)


def _common_share(excess: Array, level: Array, sigma: Array) -> float:
    """The share of the light by which a pixel may be off: what the fit is off by in most of the bright stamps, at least.

    While the fit is poor, only what is worse than usual varies; a star is the more precious the brighter it is.
    """
    core = level > CORE_SHARE * level.max(axis=(1, 2), keepdims=True)
    bright = core.any(axis=(1, 2)) & ((level / sigma).max(axis=(1, 2)) > 1 / PIXEL_CLIP_SHARE)
    if not bright.any():
        return PIXEL_CLIP_SHARE
    off = np.where(core, excess / np.maximum(level, 1e-30), 0).max(axis=(1, 2))[bright]
    return max(PIXEL_CLIP_SHARE, USUAL * float(np.median(off)))


def _planes(basis: Basis, layout: Layout, answer: Array) -> Array:
    spread = np.zeros((len(basis.kernels) + 1, len(layout.powers)))
    spread[layout.n, layout.j] = answer
    return np.tensordot(spread[:-1].T, basis.kernels, axes=1)


def _result(
    basis: Basis,
    layout: Layout,
    answer: Array,
    stamps: Stamps,
    keep: NDArray[np.bool_],
    chi2: Array,
    order: int,
) -> Kernel:
    planes = _planes(basis, layout, answer)
    spread = np.zeros((len(basis.kernels) + 1, len(layout.powers)))
    spread[layout.n, layout.j] = answer
    used = np.array([a + b <= order for a, b in layout.powers])
    star = stamps.star & keep
    return Kernel(
        planes=planes[used],
        powers=[p for p, use in zip(layout.powers, used, strict=True) if use],
        sky_terms=spread[-1],
        sky_powers=layout.powers,
        chi2=float(np.median(chi2[star])) if star.any() else 1.0,
        stamps=int(star.sum()),
        clipped=int((stamps.star & ~keep).sum()),
        order=order,
    )
