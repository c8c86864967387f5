"""Significance of a difference, with the noise of a convolved frame correlated as it is.

SCORE = (P * D) / sqrt((P * G)^2 * V_t + (P * K)^2 * V_s), * a correlation with P, the PSF of the difference, V_t and V_s the
variances of the frame that was convolved little or not at all (kernel G, often a delta) and of the one that K took to it.
Zackay & Ofek 2017 for the filter; nothing is rescaled.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photometry.loops.band import halve
from photometry.mask import BAD_BITS
from photometry.psf import PsfModel
from photometry.subtraction.direct import convolve_rows
from photometry.subtraction.fourier import convolved
from photometry.subtraction.raw import Plane
from photometry.subtraction.solve import Kernel, frame_uv
from photometry.subtraction.sweep import Swept, block_side, doubled, squared

Kernels = NDArray[np.float32]
Stamp = NDArray[np.float64]

TAIL_SHARE = 1e-4  # of a noise filter's sum that may be cut off
LEAST_SEEN = 0.05  # of the PSF's squares
GRID = 9  # places along each side whose noise filters are computed


@dataclass(frozen=True)
class Optics:
    """What was done to the light.  psf: P.  kernel: K.  wide: G, (k, k); None: a delta.  shape: the frame's (ny, nx)."""

    psf: PsfModel
    kernel: Kernel
    wide: Kernels | None
    shape: tuple[int, int]

    def kernel_at(self, x: float, y: float) -> Stamp:
        """(k, k): K at a place in pixels."""
        u, v = frame_uv(self.shape, np.array([x]), np.array([y]))
        return self.kernel.at(float(u[0]), float(v[0]))

    def psf_blocks(self, y: float, side: int) -> Kernels:
        """(blocks, k, k): P of the squares round row y."""
        u, v = frame_uv(self.shape, np.arange(0, self.shape[1], side) + (side - 1) / 2, np.array([y]))
        powers = zip(self.psf.powers_u, self.psf.powers_v, strict=True)
        factors = np.stack([u**a * v**b for a, b in powers], axis=1)
        planes = self.psf.planes
        return np.asarray((factors @ planes.reshape(len(planes), -1)).reshape(len(u), *planes.shape[1:]), np.float32)


class Scorer:
    """Rows of SCORE from the planes of a difference, which are read when rows are asked for."""

    def __init__(self, optics: Optics, swept: Swept) -> None:
        self._optics, self._swept = optics, swept
        self._own, self._through = _filters(optics, None), _filters(optics, optics.kernel)

    def rows(self, y0: int, y1: int) -> Plane:
        """(y1 - y0, nx) float32, 0 where masked; y0 is even.  Masked pixels take no part."""
        (ny, nx), side = self._optics.shape, block_side(self._optics.shape)
        psf = self._optics.psf_blocks((y0 + y1 - 1) / 2, side)
        reach = psf.shape[-1] // 2
        b0, b1 = max(y0 - reach, 0), min(y1 + reach, ny)
        bad = (self._swept.planes.bits(slice(b0, b1)) & np.uint16(BAD_BITS)) != 0
        clean = np.where(bad, np.float32(0), self._swept.planes.pixels(slice(b0, b1)))
        out = np.empty((y1 - y0, nx), np.float32)
        convolve_rows(_widened(clean, y0 - b0, b1 - y1, reach), np.ascontiguousarray(psf[:, ::-1, ::-1]), side, out)
        noise = np.sqrt(self._variance(y0, y1, psf, side))
        out /= doubled(noise, 0, y1 - y0, 0, nx)
        out[bad[y0 - b0 : y1 - b0]] = 0
        return out

    def _variance(self, y0: int, y1: int, psf: Kernels, side: int) -> Plane:
        """Of P * D, of 2 x 2 pixels."""
        ny, nx = self._swept.light.shape
        first, last = y0 // 2, (y1 + 1) // 2
        total = np.zeros((last - first, nx), np.float32)
        for filters, is_source in ((self._own, False), (self._through, True)):
            kernels = _blocks(filters, self._optics.shape, (y0 + y1 - 1) / 2, side)
            reach = kernels.shape[-1] // 2
            b0, b1 = max(first - reach, 0), min(last + reach, ny)
            part = self._swept.through_at(b0, b1, 0, nx) if is_source else self._swept.own(b0, b1, 0, nx)
            out = np.empty_like(total)
            convolve_rows(_widened(part, first - b0, b1 - last, reach), kernels, side // 2, out)
            total += out
        total *= self._seen(first, last, squared(psf[:, ::-1, ::-1]), side)
        return np.maximum(total, np.float32(1e-30))

    def _seen(self, first: int, last: int, weights: Kernels, side: int) -> Plane:
        """The share of P's squares that is not masked, of 2 x 2 pixels."""
        ny, nx = self._optics.shape
        reach = weights.shape[-1] // 2
        b0, b1 = max(2 * (first - reach), 0), min(2 * (last + reach), ny)
        open_ = np.ones(((b1 - b0 + 1) // 2, (nx + 1) // 2), np.float32)
        out = open_[: last - first]
        bad = (self._swept.planes.bits(slice(b0, b1)) & np.uint16(BAD_BITS)) != 0
        if not bad.any():
            return out
        halve(1 - bad.astype(np.float32), open_)
        out = np.empty((last - first, open_.shape[1]), np.float32)
        weights = weights / weights.sum(axis=(1, 2), keepdims=True)
        convolve_rows(_widened(open_, first - b0 // 2, b0 // 2 + len(open_) - last, reach), weights, side // 2, out)
        return np.clip(out, LEAST_SEEN, 1)


def noise_filter(optics: Optics, kernel: Kernel | None, x: float, y: float) -> Stamp:
    """What P * D sees of a frame's own pixels at a place, as a convolution: P reversed, after what was done to the frame.

    kernel: the matching kernel for the source, over its sum; None: the target's.
    """
    reverse = optics.psf.at(x, y)[::-1, ::-1]
    if kernel is not None:
        return convolved(reverse, optics.kernel_at(x, y) / kernel.kernel_sum)
    return reverse if optics.wide is None else convolved(reverse, optics.wide)


def _filters(optics: Optics, kernel: Kernel | None) -> Kernels:
    """(GRID, GRID, k, k): squares of the noise filters at places spread over the frame, for planes of 2 x 2 pixels."""
    ny, nx = optics.shape
    places = [(x, y) for y in np.linspace(0, ny - 1, GRID).tolist() for x in np.linspace(0, nx - 1, GRID).tolist()]
    stamps = squared(np.array([noise_filter(optics, kernel, x, y) for x, y in places], np.float32))
    half = stamps.shape[-1] // 2
    mean = stamps.mean(axis=0)
    inner = (mean[half - r : half + r + 1, half - r : half + r + 1].sum() for r in range(half + 1))
    keep = next(r for r, total in enumerate(inner) if total >= (1 - TAIL_SHARE) * mean.sum())
    cut = slice(half - keep, half + keep + 1)
    return np.ascontiguousarray(stamps[:, cut, cut].reshape(GRID, GRID, 2 * keep + 1, 2 * keep + 1))


def _blocks(filters: Kernels, shape: tuple[int, int], y: float, side: int) -> Kernels:
    """(blocks, k, k): the filters of the squares round row y, linear between the places of the grid."""
    ny, nx = shape
    across = np.arange(0, nx, side) + (side - 1) / 2
    (j, p), (i, q) = _between(np.array([y]) / max(ny - 1, 1)), _between(across / max(nx - 1, 1))
    row = filters[j[0]] * (1 - p[0]) + filters[j[0] + 1] * p[0]
    q = q[:, None, None]
    return np.ascontiguousarray(row[i] * (1 - q) + row[i + 1] * q, np.float32)


def _between(share: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    place = np.clip(share, 0, 1) * (GRID - 1)
    low = np.minimum(place.astype(np.int64), GRID - 2)
    return low, (place - low).astype(np.float32)


def _widened(part: Plane, above: int, below: int, reach: int) -> Plane:
    """Rows with `above` and `below` of `reach` rows round them: the others, and columns, mirrored at the border."""
    return np.pad(part, ((reach - above, reach - below), (reach, reach)), mode="symmetric")


def robust_width(values: NDArray[np.floating]) -> float:
    """1.4826 times the median absolute deviation; NaN of nothing."""
    if not values.size:
        return float("nan")
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
