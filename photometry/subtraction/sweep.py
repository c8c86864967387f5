"""The second pass over the frames: the difference, what its noise is made of, and its flags, band by band.

Each band is the work of one thread, which reads its rows of both frames, prepares, convolves and subtracts them, and writes
them where they belong.  What is kept of the whole frame is smooth, light and variances, and on coarser pixels.
"""

from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.loops.band import double, halve, merge_flags, take_away
from photometry.loops.dipoles import find_tops
from photometry.loops.rings import find_bright
from photometry.mask import TEMPLATE_SHIFT, Bit
from photometry.mesh import Mesh
from photometry.subtraction.direct import convolve_rows
from photometry.subtraction.planes import Planes
from photometry.subtraction.plate import Plate
from photometry.subtraction.raw import Plane
from photometry.subtraction.solve import Kernel, frame_uv
from photometry.subtraction.window import Window, variance_of

SATURATED = Bit.SATURATED | Bit.TEMPLATE_SATURATED
# of a pixel: a saturated one with less of a star's light is a bad column's or was bled into; light whose wing beyond the
# kernel may be seen
BRIGHT_SIGMAS = (50.0, 500.0)
TOP_SIGMA = 10.0  # of a pixel: a star that leaves something seen where it lies elsewhere by a tenth of a pixel
ROWS = 240  # of a band: whole strips of the convolution's tiles, and few rows that two bands must prepare
SHARPER = 3.0  # times that the light of a star stands higher where it is sharper, at most
NOISE_ROWS = 120  # whose variances pass through one row of kernels
BLOCKS = 128  # pieces of the frame's longer side, each of which has one kernel
BLOCK_LIMITS = (16, 64)  # pixels across one
BLOCK_ROWS = {16: 24, 32: 30, 64: 60}  # down one, by its width: whole strips of the convolution's tiles

Found = tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True)
class Job:
    """What is subtracted from what.  wide: the kernel that the target is convolved with first; None: not at all.

    margins: pixels of the border that are beyond each frame's exposure for its kernel: target's, source's.
    """

    target: Plate
    source: Plate
    kernel: Kernel
    wide: NDArray[np.float32] | None
    margins: tuple[int, int]
    science_convolved: bool

    @property
    def factor(self) -> float:
        """From the target's scale to the difference's, on the whole: K carries the flux scale."""
        return 1 / self.kernel.kernel_sum if self.science_convolved else 1.0

    def scales(self, y0: int, y1: int) -> NDArray[np.float64]:
        """(rows, 2): what target - K * source is divided by, s[y, 0] + s[y, 1] u: the difference is science minus template,
        on the science frame's scale everywhere.
        """
        out = np.tile([1.0, 0.0], (y1 - y0, 1))
        if self.science_convolved:
            _, v = frame_uv(self.target.shape, np.zeros(1), np.arange(y0, y1))
            sums = dict(zip(self.kernel.powers, self.kernel.planes.sum(axis=(1, 2)).tolist(), strict=True))
            out[:, 0] = -sums[0, 0] - sums.get((0, 1), 0.0) * v
            out[:, 1] = -sums.get((1, 0), 0.0)
        return out


@dataclass(frozen=True)
class Swept:
    """The planes of a difference while it is made, in the science frame's unit.

    planes   difference and flags, where they are to be written
    light    of 2 x 2 pixels: the template's, as the difference has it, for the science frame's shows what changed too
    through  of 4 x 4: the source's variance, before the kernel, times the square of its sum;  variance  of the difference
    bright   (n, 3): y, x of very bright 2 x 2 pixels, and whether they are of a saturated core
    tops     (n, 4) float32: y, x of the pixel in the middle of each bright star, the light of a pixel there, its sigma
    """

    job: Job
    planes: Planes
    light: Plane
    through: Plane
    variance: Plane
    bright: NDArray[np.int64]
    tops: NDArray[np.float32]

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)"""
        return self.job.target.shape

    def own(self, y0: int, y1: int, x0: int, x1: int) -> Plane:
        """Variance of the target's own 2 x 2 pixels in a rectangle of them, before any convolution."""
        target, scale = self.job.target, self.job.factor
        noise = Mesh(target.noise.nodes * np.float32(scale**2), target.noise.side // 2).window(y0, y1, x0, x1)
        return variance_of(self.light[y0:y1, x0:x1], noise, target.gain / scale)

    def sigma2(self, y0: int, y1: int, x0: int, x1: int) -> Plane:
        """Of 2 x 2 pixels: what counts for a source, whose sums over pixels a convolution does not make quieter."""
        return self.own(y0, y1, x0, x1) + self.through_at(y0, y1, x0, x1)

    def through_at(self, y0: int, y1: int, x0: int, x1: int) -> Plane:
        """The source's variance in a rectangle of 2 x 2 pixels, before the kernel, times the square of its sum."""
        return doubled(self.through, y0, y1, x0, x1)


def sweep(job: Job, planes: Planes, threads: Executor) -> Swept:
    """Every band once: difference and variance, if that is wanted, are written to `planes`."""
    swept = empty(job, planes)
    return complete(swept, threads.map(lambda y0: _band(swept, y0), range(0, swept.shape[0], ROWS)))


def complete(swept: Swept, bands: Iterable[Found]) -> Swept:
    """With what was found in all bands."""
    bright, tops = zip(*bands, strict=True)
    return replace(swept, bright=np.concatenate(bright), tops=np.concatenate(tops))


def empty(job: Job, planes: Planes) -> Swept:
    """To be filled band by band."""
    ny, nx = job.target.shape
    half, quarter = ((ny + 1) // 2, (nx + 1) // 2), ((ny + 3) // 4, (nx + 3) // 4)
    light, through, variance = (np.empty(shape, np.float32) for shape in (half, quarter, quarter))
    return Swept(job, planes, light, through, variance, np.zeros((0, 3), np.int64), np.zeros((0, 4), np.float32))


def doubled(plane: NDArray[Any], y0: int, y1: int, x0: int, x1: int) -> NDArray[Any]:
    """A rectangle of a plane at twice its resolution: each value for 2 x 2."""
    part = plane[y0 // 2 : (y1 + 1) // 2, x0 // 2 : (x1 + 1) // 2]
    if y0 % 2 or x0 % 2:
        return part[np.ix_(np.arange(y0, y1) // 2 - y0 // 2, np.arange(x0, x1) // 2 - x0 // 2)]
    out = np.empty((y1 - y0, x1 - x0), plane.dtype)
    double(_bits(part), _bits(out))
    return out


def _bits(plane: NDArray[Any]) -> NDArray[np.uint32]:
    """Values of 4 bytes of any byte order, which need not be understood to be copied."""
    return np.ascontiguousarray(plane).view(np.uint32)


def block_side(shape: tuple[int, int]) -> int:
    """Pixels of the squares that have one kernel each: few enough for its change over them not to matter."""
    side = max(shape) // BLOCKS
    return int(min(max(1 << max(side.bit_length() - 1, 0), BLOCK_LIMITS[0]), BLOCK_LIMITS[1]))


def kernels_of(kernel: Kernel, shape: tuple[int, int], y: float, side: int) -> NDArray[np.float32]:
    """(blocks, k, k): the kernels of the squares round row y."""
    u, v = frame_uv(shape, np.arange(0, shape[1], side) + (side - 1) / 2, np.array([y]))
    factors = np.stack([u**a * v**b for a, b in kernel.powers], axis=1)
    flat = factors.astype(np.float32) @ kernel.planes.reshape(len(kernel.powers), -1).astype(np.float32)
    return np.ascontiguousarray(flat.reshape(len(u), *kernel.planes.shape[1:]))


def squares_of(kernel: Kernel, shape: tuple[int, int], y0: int, y1: int) -> list[NDArray[np.float32]]:
    """(blocks, h, h) each: the squared kernels of every NOISE_ROWS of rows."""
    middles = [y + (NOISE_ROWS - 1) / 2 for y in range(y0, y1, NOISE_ROWS)]
    return [squared(kernels_of(kernel, shape, y, block_side(shape))) for y in middles]


def squared(kernels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, h, h): the kernels (n, k, k) squared, for planes of 2 x 2 pixels, on which a variance is taken for constant."""
    r = kernels.shape[1] // 2
    reach = (r + 1) // 2
    spread = np.zeros((2 * reach + 1, 2 * r + 1), np.float32)
    for d in range(-r, r + 1):
        if d % 2 == 0:
            spread[d // 2 + reach, d + r] = 1
        else:
            spread[(d - 1) // 2 + reach, d + r] = spread[(d + 1) // 2 + reach, d + r] = 0.5
    return np.ascontiguousarray(spread @ kernels**2 @ spread.T)


def _band(swept: Swept, y0: int) -> Found:
    """Fill rows of all planes."""
    job = swept.job
    ny, nx = swept.shape
    y1 = min(y0 + ROWS, ny)
    source, target = windows(job, y0, y1)
    matched = _matched(job, source, y0, y1, block_side((ny, nx)))
    rows = slice(y0 // 2, (y1 + 1) // 2)
    halve(np.ascontiguousarray(target.around(0)) if job.science_convolved else matched, swept.light[rows])
    swept.light[rows] *= np.float32(job.factor)
    _weigh(swept, (source, target), y0, y1)
    take_away(target.convolved(job.wide), matched, sky_of(job.kernel, (ny, nx), y0, y1), job.scales(y0, y1))
    swept.planes.data[y0:y1] = matched
    return write_flags(swept, source, target, y0, y1)


def windows(job: Job, y0: int, y1: int) -> tuple[Window, Window]:
    """Rows of source and target, with what lies round them."""
    even, wide = even_reach(job.kernel.planes[0]), even_reach(job.wide)
    if job.science_convolved:
        wide = even
    return Window(job.source, y0, y1, even, even), Window(job.target, y0, y1, max(2, wide), wide)


def passed_variance(job: Job, source: Window, target: Window) -> Plane:
    """Variance of the source's 2 x 2 pixels, of all that was read, before the kernel, in its own unit^2.

    A science frame's light counts as far as the template's explains it, sharper as the frame is: what is new is no noise.
    """
    return source.variance(target.light() * np.float32(SHARPER * job.factor) if job.science_convolved else None)


def write_flags(swept: Swept, source: Window, target: Window, y0: int, y1: int) -> Found:
    """Flag rows whose other planes are filled; what of `Swept.bright` and `Swept.tops` is there."""
    job, side = swept.job, block_side(swept.shape)
    rows = slice(y0 // 2, (y1 + 1) // 2)
    sigma = np.sqrt(swept.sigma2(rows.start, rows.stop, 0, swept.light.shape[1]))
    here = np.asarray(sigma / job.factor, np.float32)
    kernels = kernels_of(job.kernel, swept.shape, (y0 + y1 - 1) / 2, side)
    bits = target.flags(None if job.wide is None else job.wide[None], swept.shape[1], job.margins[0], here)
    other = source.flags(kernels, side, job.margins[1], here)
    low, high = (other, bits) if job.science_convolved else (bits, other)
    flags = np.empty(low.shape, np.uint16)
    merge_flags(low, high, TEMPLATE_SHIFT, flags)
    swept.planes.mask[y0:y1] = flags
    bright = find_bright(swept.light[rows], sigma, flags, int(SATURATED), BRIGHT_SIGMAS)
    bright[:, 0] += rows.start
    tops = find_tops(swept.light[rows], sigma, TOP_SIGMA)
    tops[:, :2] = 2 * tops[:, :2] + (y0, 0)
    return bright, tops


def _weigh(swept: Swept, frames: tuple[Window, Window], y0: int, y1: int) -> None:
    """The variances of rows of the difference, from what the source and the target show there."""
    job, (source, target) = swept.job, frames
    nx, side, even = swept.shape[1], block_side(swept.shape), even_reach(job.kernel.planes[0])
    first, last, across = y0 // 2, (y1 + 1) // 2, swept.light.shape[1]
    through = passed_variance(job, source, target) * np.float32(job.factor**2)
    noise = np.empty((last - first, across), np.float32)
    for i, squares in enumerate(squares_of(job.kernel, swept.shape, y0, y1)):
        top = i * NOISE_ROWS // 2
        part = noise[top : top + NOISE_ROWS // 2]
        convolve_rows(through[top : top + len(part) + squares.shape[-1] - 1], squares, side // 2, part)
    if job.wide is None:
        noise += swept.own(first, last, 0, across)
    else:
        noise += _smoothed(target.variance(), job.wide, noise.shape) * np.float32(job.factor**2)
    coarse = slice(y0 // 4, (y1 + 3) // 4)
    halve(noise, swept.variance[coarse])
    variance = swept.planes.variance
    if variance is not None:
        variance[y0:y1] = doubled(noise.astype(variance.dtype), 0, y1 - y0, 0, nx)
    inside = through[even // 2 : even // 2 + len(noise), even // 2 : even // 2 + across]
    halve(inside * np.float32(job.kernel.kernel_sum**2), swept.through[coarse])


def _matched(job: Job, source: Window, y0: int, y1: int, side: int) -> Plane:
    """K * source, of whole rows."""
    shape, r = job.target.shape, job.kernel.planes.shape[-1] // 2
    data = source.around(r)
    out = np.empty((y1 - y0, shape[1]), np.float32)
    step = BLOCK_ROWS[side]
    for top in range(0, y1 - y0, step):
        part = out[top : top + step]
        kernels = kernels_of(job.kernel, shape, y0 + top + (step - 1) / 2, side)
        convolve_rows(data[top : top + len(part) + 2 * r], kernels, side, part)
    return out


def _smoothed(variance: Plane, kernel: NDArray[np.float32], shape: tuple[int, ...]) -> Plane:
    """A variance of 2 x 2 pixels after a convolution of the pixels with one kernel."""
    out = np.empty(shape, np.float32)
    convolve_rows(variance, squared(kernel[None]), shape[1], out)
    return out


def even_reach(kernel: NDArray[np.floating] | None) -> int:
    """Half the width of a kernel, rounded up to an even number; 0 of none."""
    return 0 if kernel is None else kernel.shape[-1] // 2 + kernel.shape[-1] // 2 % 2


def sky_of(kernel: Kernel, shape: tuple[int, int], y0: int, y1: int) -> NDArray[np.float64]:
    """(rows, terms): the fitted sky between the frames along each of the rows, as the coefficients of a polynomial in u."""
    _, v = frame_uv(shape, np.zeros(1), np.arange(y0, y1))
    degree = max(max(power) for power in kernel.sky_powers) + 1
    terms = np.zeros((degree, degree))
    for (a, b), value in zip(kernel.sky_powers, kernel.sky_terms, strict=True):
        terms[b, a] = value
    return np.vander(v, degree, increasing=True) @ terms
