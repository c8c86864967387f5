"""Variance and significance of a difference, with the noise of a convolved frame correlated as it is.

SCORE = (P * D) / sqrt(P^2 * V_t + (P * K)^2 * V_s), * a correlation with P, the PSF of the difference, V_t and V_s the
variances of the frame that was convolved little or not at all (kernel G, often a delta) and of the one that K took to it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from photometry.subtraction.convolve import Stamp, Transformer, convolve_local, tiles, window

Plane = NDArray[np.float32]
At = Callable[[float, float], Stamp]

TILE = 160


@dataclass(frozen=True)
class Optics:
    """What was done to the light, at a place (x, y) in pixels.

    psf: P, unit sum.  target_kernel: G, what the target was convolved with (None: not at all).  source_kernel: K.
    """

    psf: At
    target_kernel: At | None
    source_kernel: At
    psf_half: int
    kernel_half: int


def difference_variance(target: Plane, source: Plane, optics: Optics) -> Plane:
    """G^2 * V_target + K^2 * V_source, per pixel."""
    out = convolve_local(source, lambda x, y: optics.source_kernel(x, y) ** 2, optics.kernel_half)
    if optics.target_kernel is None:
        return out + target
    kernel = optics.target_kernel
    return out + convolve_local(target, lambda x, y: kernel(x, y) ** 2, optics.kernel_half)


def filters_at(optics: Optics, x: float, y: float) -> tuple[Stamp, Stamp, Stamp]:
    """P reversed, and the squares of what P sees of each frame's own noise: target's, source's."""
    p = optics.psf(x, y)[::-1, ::-1]
    own = p if optics.target_kernel is None else signal.fftconvolve(p, optics.target_kernel(x, y))
    return p, own**2, signal.fftconvolve(p, optics.source_kernel(x, y)) ** 2


def score_map(difference: Plane, masked: NDArray[np.bool_], target: Plane, source: Plane, optics: Optics) -> Plane:
    """(ny, nx) float32, 0 where masked.  Masked pixels take no part; the noise is that of the pixels that do."""
    half = optics.psf_half + optics.kernel_half
    transformer = Transformer(TILE, half)
    clean = np.where(masked, 0, difference).astype(np.float32)
    own_variance = target if optics.target_kernel is not None else np.where(masked, 0, target).astype(np.float32)
    out = np.zeros(difference.shape, np.float32)
    for tile in tiles((difference.shape[0], difference.shape[1]), TILE):
        p, own, through = filters_at(optics, *tile.centre)
        spectrum = transformer.forward(window(clean, tile, half)) * transformer.kernel(p)
        signal_part = transformer.inverse(spectrum, tile)
        own_part = transformer.forward(window(own_variance, tile, half)) * transformer.kernel(own)
        other = transformer.forward(window(source, tile, half)) * transformer.kernel(through)
        holes = window(masked.view(np.uint8), tile, half)
        if not holes.any():
            noise = transformer.inverse(own_part + other, tile)
        else:
            seen = transformer.kernel(p**2 / (p**2).sum()) * transformer.forward((holes == 0).astype(np.float32))
            share = np.clip(transformer.inverse(seen, tile), 0.05, 1)
            shared = other if optics.target_kernel is None else own_part + other
            noise = transformer.inverse(shared, tile) * share
            if optics.target_kernel is None:
                noise = noise + transformer.inverse(own_part, tile)
        out[tile.slices] = signal_part / np.sqrt(np.maximum(noise, 1e-30))
    out[masked] = 0
    return out


def robust_width(values: NDArray[np.floating]) -> float:
    """1.4826 times the median absolute deviation; NaN of nothing."""
    if not values.size:
        return float("nan")
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
