"""The subtraction's definitions in plain numpy on whole arrays, by tiles of FFTs: exact where the engines are fast.

The engines are held against it.  float32 in and out, the frame's border mirrored; NaN must have been filled before.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from photometry.subtraction.significance import LEAST_SEEN, Optics, noise_filter
from photometry.subtraction.solve import frame_uv

Plane = NDArray[np.float32]
Stamp = NDArray[np.float64]


class Tile(NamedTuple):
    """A rectangle [y0, y1) x [x0, x1) of the frame."""

    y0: int
    y1: int
    x0: int
    x1: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """For indexing an array [y, x]."""
        return slice(self.y0, self.y1), slice(self.x0, self.x1)

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of its middle, pixels."""
        return (self.x0 + self.x1 - 1) / 2, (self.y0 + self.y1 - 1) / 2


def tiles(shape: tuple[int, int], side: int) -> Iterator[Tile]:
    """Tiles of at most `side` pixels that cover the frame once."""
    ny, nx = shape
    for y in range(0, ny, side):
        for x in range(0, nx, side):
            yield Tile(y, min(y + side, ny), x, min(x + side, nx))


def window(data: Plane, tile: Tile, half: int) -> Plane:
    """The tile and `half` pixels round it; beyond the frame's border the mirror image."""
    ny, nx = data.shape
    low_y, high_y = max(tile.y0 - half, 0), min(tile.y1 + half, ny)
    low_x, high_x = max(tile.x0 - half, 0), min(tile.x1 + half, nx)
    inside = data[low_y:high_y, low_x:high_x]
    pad = ((low_y - tile.y0 + half, tile.y1 + half - high_y), (low_x - tile.x0 + half, tile.x1 + half - high_x))
    if not np.any(pad):
        return inside
    return np.pad(inside, pad, mode="symmetric")


class Transformer:
    """FFTs of one size, big enough for windows of `side` + 2 `half` pixels, that give the tile within a window back."""

    def __init__(self, side: int, half: int) -> None:
        self.half = half
        self.n = int(fft.next_fast_len(side + 2 * half, real=True))

    def forward(self, part: Plane) -> NDArray[np.complex64]:
        """Transform of a window, zero-padded."""
        return np.asarray(fft.rfft2(part, s=(self.n, self.n)), dtype=np.complex64)

    def kernel(self, stamp: NDArray[np.floating]) -> NDArray[np.complex64]:
        """Transform of a kernel (odd, square, half-width <= half), its middle at the origin."""
        k = stamp.shape[0] // 2
        padded = np.zeros((self.n, self.n), np.float32)
        padded[: 2 * k + 1, : 2 * k + 1] = stamp
        return self.forward(np.roll(padded, (-k, -k), axis=(0, 1)))

    def inverse(self, product: NDArray[np.complex64], tile: Tile) -> Plane:
        """The tile's pixels of a transform of its window."""
        h = self.half
        whole = fft.irfft2(product, s=(self.n, self.n))
        return np.asarray(whole[h : h + tile.y1 - tile.y0, h : h + tile.x1 - tile.x0], dtype=np.float32)


def convolve_varying(data: Plane, planes: Stamp, powers: Sequence[tuple[int, int]], side: int = 256) -> Plane:
    """Sum over j of u^a v^b (K_j * data), (a, b) = powers[j], u and v taken at the pixel that is written: exact, no blocks.

    data (ny, nx) float32, finite; planes (terms, k, k), k odd.
    """
    transformer = Transformer(side, planes.shape[-1] // 2)
    kernels = [transformer.kernel(plane) for plane in planes]
    out = np.empty(data.shape, np.float32)
    for tile in tiles((data.shape[0], data.shape[1]), side):
        spectrum = transformer.forward(window(data, tile, transformer.half))
        u, v = frame_uv((data.shape[0], data.shape[1]), np.arange(tile.x0, tile.x1), np.arange(tile.y0, tile.y1))
        total = np.zeros((tile.y1 - tile.y0, tile.x1 - tile.x0), np.float32)
        for kernel, (a, b) in zip(kernels, powers, strict=True):
            part = transformer.inverse(spectrum * kernel, tile)
            total += part * ((v**b)[:, None] * (u**a)[None, :]).astype(np.float32)
        out[tile.slices] = total
    return out


def convolve_local(data: Plane, kernel_at: Callable[[float, float], Stamp], half: int, side: int = 128) -> Plane:
    """Each tile convolved with the kernel of its middle, kernel_at(x, y): for smooth things such as variances."""
    transformer = Transformer(side, half)
    out = np.empty(data.shape, np.float32)
    for tile in tiles((data.shape[0], data.shape[1]), side):
        spectrum = transformer.forward(window(data, tile, half))
        out[tile.slices] = transformer.inverse(spectrum * transformer.kernel(kernel_at(*tile.centre)), tile)
    return out


def difference_variance(target: Plane, source: Plane, optics: Optics, side: int = 32) -> Plane:
    """G^2 * V_target + K^2 * V_source, per pixel."""
    half = optics.kernel.planes.shape[-1] // 2
    out = convolve_local(source, lambda x, y: optics.kernel_at(x, y) ** 2, half, side)
    if optics.wide is None:
        return out + target
    squares = optics.wide.astype(float) ** 2
    return out + convolve_local(target, lambda _x, _y: squares, optics.wide.shape[0] // 2, side)


def score_map(difference: Plane, masked: NDArray[np.bool_], target: Plane, source: Plane, optics: Optics) -> Plane:
    """(ny, nx) float32, 0 where masked.  Masked pixels take no part; the noise is that of the pixels that do.

    target, source: variances, the source's times the square of the kernel's sum.
    """
    half = optics.psf.half + max(optics.kernel.planes.shape[-1], 0 if optics.wide is None else len(optics.wide)) // 2
    clean = np.where(masked, 0, difference).astype(np.float32)
    light = convolve_local(clean, lambda x, y: optics.psf.at(x, y)[::-1, ::-1], half)
    noise = convolve_local(target, lambda x, y: noise_filter(optics, None, x, y) ** 2, half)
    noise += convolve_local(source, lambda x, y: noise_filter(optics, optics.kernel, x, y) ** 2, half)

    def share(x: float, y: float) -> Stamp:
        squares = optics.psf.at(x, y)[::-1, ::-1] ** 2
        return np.asarray(squares / squares.sum())

    noise *= np.clip(convolve_local((~masked).astype(np.float32), share, half), LEAST_SEEN, 1)
    return np.where(masked, np.float32(0), light / np.sqrt(np.maximum(noise, np.float32(1e-30))))
