"""A deliberately plain Alard-Lupton subtraction, with the settings that HOTPANTS usually has: something to compare with.

It is not HOTPANTS.  Nothing is masked, filled, clipped by pixel or regularised: frames are convolved as they come.
Alard & Lupton 1998; Alard 2000.
"""

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photometry.grow import grow
from photometry.subtraction.basis import Basis, basis_images, toeplitz_filters
from photometry.subtraction.normal import Layout, assemble, layout_of
from photometry.subtraction.reference import convolve_varying
from photometry.subtraction.solve import frame_uv

Array = NDArray[np.float64]
Single = NDArray[np.float32]
Places = NDArray[np.int64]

HALF = 10  # pixels: of the kernel, -r 10
SIGMAS, DEGREES = (0.7, 1.5, 3.0), (6, 4, 2)  # pixels: -ng 3 6 .7 4 1.5 2 3
KERNEL_ORDER, SKY_ORDER = 2, 1  # -ko 2 -bgo 1
STAMP_HALF = 20  # pixels, -rss 20
CELLS = 10  # a side, with one stamp each: -nsx 10 -nsy 10
LIMITS = (1.0, 59000.0)  # of the counts that a stamp may have: -tl 1 -tu 59000
CLIP_SIGMA, ROUNDS = 2.0, 3  # of the stamps' chi2, -ks 2


@dataclass(frozen=True)
class Counts:
    """A frame's counts, sky included, (ny, nx) float32; gain: electrons per count; read_noise: electrons."""

    pixels: Single
    gain: float
    read_noise: float

    def variance(self) -> Array:
        """As the noisy pixels themselves say."""
        return np.asarray(np.maximum(self.pixels, 0) / self.gain + (self.read_noise / self.gain) ** 2, float)


def plain_difference(science: Counts, template: Counts, stars: NDArray[np.void], threads: Executor) -> Single:
    """(ny, nx) float32: science - kernel * template - sky.  stars: x, y, flux, from which stamps are taken."""
    shape = (science.pixels.shape[0], science.pixels.shape[1])
    basis, layout = _usual_basis(), layout_of(_count(), KERNEL_ORDER, SKY_ORDER)
    x, y = _stamps(science, template, stars).T
    u, v = frame_uv(shape, x, y)
    phi = np.stack([u**a * v**b for a, b in layout.powers], axis=1)
    target = _cut(science.pixels, x, y, STAMP_HALF).reshape(len(x), -1).astype(float)
    windows = _cut(template.pixels, x, y, STAMP_HALF + HALF)
    columns = basis_images(basis, windows, toeplitz_filters(basis, 2 * STAMP_HALF + 1), threads)
    columns = columns.reshape(*columns.shape[:2], -1)
    noise = science.variance() + template.variance()
    spread = _fitted(columns, target, 1 / _cut(noise, x, y, STAMP_HALF).reshape(target.shape), phi, layout)
    planes = np.tensordot(spread[:-1].T, basis.kernels, axes=1)
    matched = convolve_varying(template.pixels, planes, layout.powers)
    u, v = frame_uv(shape, np.arange(shape[1]), np.arange(shape[0]))
    sky = sum(term * np.outer(v**b, u**a) for term, (a, b) in zip(spread[-1], layout.powers, strict=True))
    return np.asarray(science.pixels - matched - sky, np.float32)


def beyond(frame: Counts) -> NDArray[np.bool_]:
    """(ny, nx): what HOTPANTS would mask of a frame with these limits, and what the kernel carries it to."""
    outside = (frame.pixels < LIMITS[0]) | (frame.pixels > LIMITS[1])
    return grow(outside, HALF)


def _count() -> int:
    """How many kernels the basis has."""
    return sum((degree + 1) * (degree + 2) // 2 for degree in DEGREES)


def _usual_basis() -> Basis:
    """Gaussians times x^i y^j; those with a sum have sum one, less the first, which alone carries the flux."""
    axis = np.arange(-HALF, HALF + 1.0)
    filters: list[Array] = []
    pairs: list[tuple[int, int]] = []
    norms: list[float] = []
    zero: list[float] = []
    for sigma, degree in zip(SIGMAS, DEGREES, strict=True):
        first = len(filters)
        gauss = np.exp(-0.5 * (axis / sigma) ** 2)
        filters += [gauss * (axis / sigma) ** power for power in range(degree + 1)]
        for i in range(degree + 1):
            for j in range(degree + 1 - i):
                even = i % 2 == 0 and j % 2 == 0
                pairs.append((first + j, first + i))
                norms.append(1 / float(filters[first + i].sum() * filters[first + j].sum()) if even else 1.0)
                zero.append(1.0 if even and zero else 0.0)
    bank, index = np.array(filters), np.array(pairs, np.int64)
    kernels = np.array(norms)[:, None, None] * bank[index[:, 0]][:, :, None] * bank[index[:, 1]][:, None, :]
    kernels -= np.array(zero)[:, None, None] * kernels[0]
    return Basis(kernels, bank, index, np.array(norms), np.array(zero))


def _stamps(science: Counts, template: Counts, stars: NDArray[np.void]) -> Places:
    """(n, 2) x, y: the brightest star of each cell whose stamp holds no pixel beyond LIMITS on either frame."""
    ny, nx = science.pixels.shape
    side, reach = max(nx, ny) / CELLS, STAMP_HALF + HALF
    chosen: dict[tuple[int, int], tuple[int, int]] = {}
    for star in stars[np.argsort(-stars["flux"], kind="stable")]:
        x, y = round(float(star["x"])), round(float(star["y"]))
        cell = int(x / side), int(y / side)
        if cell in chosen or not (reach <= x < nx - reach and reach <= y < ny - reach):
            continue
        box = slice(y - STAMP_HALF, y + STAMP_HALF + 1), slice(x - STAMP_HALF, x + STAMP_HALF + 1)
        if all(LIMITS[0] <= f.pixels[box].min() and f.pixels[box].max() <= LIMITS[1] for f in (science, template)):
            chosen[cell] = x, y
    return np.array(list(chosen.values()), np.int64)


def _cut(plane: NDArray[np.floating], x: Places, y: Places, half: int) -> NDArray[np.floating]:
    """(n, 2 half + 1, 2 half + 1) round integer places."""
    return np.stack([plane[b - half : b + half + 1, a - half : a + half + 1] for a, b in zip(x, y, strict=True)])


def _fitted(columns: Single, target: Array, weights: Array, phi: Array, layout: Layout) -> Array:
    """(kernels + 1, terms): least squares, and again without the stamps that it fits worst."""
    keep = np.ones(len(target), bool)
    spread = np.zeros((columns.shape[1], phi.shape[1]))
    gram = np.stack([(c * w) @ c.T for c, w in zip(columns.astype(float), weights, strict=True)])
    right = np.stack([(c * w) @ t for c, w, t in zip(columns, weights, target, strict=True)])
    for _ in range(ROUNDS):
        matrix, vector = assemble(gram[keep], right[keep], phi[keep], layout)
        spread[layout.n, layout.j] = np.linalg.solve(matrix, vector)
        model = np.matmul((phi @ spread.T)[:, None, :], columns)[:, 0]
        chi2 = (weights * (target - model) ** 2).mean(axis=1)
        keep &= chi2 < chi2[keep].mean() + CLIP_SIGMA * chi2[keep].std()
    return spread
