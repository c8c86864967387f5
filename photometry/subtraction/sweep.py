"""The second pass over the frames: the difference, what its noise is made of, and its flags, band by band.

Each band is the work of one thread, which reads its rows of both frames, prepares, convolves and subtracts them.  What is
kept of the size of the frame is the difference and its mask; light and variances, which are smooth, on coarser pixels.
"""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.loops.band import halve
from photometry.mask import TEMPLATE_SHIFT
from photometry.subtraction.direct import convolve_rows
from photometry.subtraction.plate import Mesh, Plate
from photometry.subtraction.raw import Plane
from photometry.subtraction.solve import Kernel, frame_uv
from photometry.subtraction.window import Window, variance_of

Writable = Any  # an array of (ny, nx), in memory or mapped from a file

ROWS = 120  # of a band: whole strips of the convolution's tiles
BLOCKS = 128  # pieces of the frame's longer side, each of which has one kernel
BLOCK_LIMITS = (16, 64)  # pixels across one
BLOCK_ROWS = {16: 24, 32: 30, 64: 60}  # down one, by its width: whole strips of the convolution's tiles


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
        """From the target's scale to the difference's: K carries the flux scale, and science - template keeps its sign."""
        return -1 / self.kernel.kernel_sum if self.science_convolved else 1.0


@dataclass(frozen=True)
class Swept:
    """The planes of a difference while it is made, in the target's unit.

    resid (ny, nx) float32: target - K * source - the fitted sky; mask (ny, nx) uint16; light, of 2 x 2 pixels: the matched
    source's.  Of 4 x 4: through, the source's variance times the square of the kernel's sum; variance, of resid.
    """

    job: Job
    resid: Plane
    mask: NDArray[np.uint16]
    light: Plane
    through: Plane
    variance: Plane

    def own(self, y0: int, y1: int, x0: int, x1: int) -> Plane:
        """Variance of the target's own 2 x 2 pixels in a rectangle of them, before any convolution."""
        mesh = self.job.target.noise
        noise = Mesh(mesh.nodes, mesh.side // 2).window(y0, y1, x0, x1)
        return variance_of(self.light[y0:y1, x0:x1], noise, self.job.target.gain)

    def sigma2(self, y0: int, y1: int, x0: int, x1: int) -> Plane:
        """Of 2 x 2 pixels: what counts for a source, whose sums over pixels a convolution does not make quieter."""
        return self.own(y0, y1, x0, x1) + self.through_at(y0, y1, x0, x1)

    def through_at(self, y0: int, y1: int, x0: int, x1: int) -> Plane:
        """The source's variance in a rectangle of 2 x 2 pixels, before the kernel, times the square of its sum."""
        return doubled(self.through, y0, y1, x0, x1)


def sweep(job: Job, variance: Writable, threads: Executor) -> Swept:
    """Every band once; `variance` (ny, nx) takes that of the difference in the science frame's unit^2."""
    ny, nx = job.target.shape
    coarse = ((ny + 3) // 4, (nx + 3) // 4)
    swept = Swept(
        job=job,
        resid=np.empty((ny, nx), np.float32),
        mask=np.empty((ny, nx), np.uint16),
        light=np.empty(((ny + 1) // 2, (nx + 1) // 2), np.float32),
        through=np.empty(coarse, np.float32),
        variance=np.empty(coarse, np.float32),
    )
    for _ in threads.map(lambda y0: _band(swept, variance, y0), range(0, ny, ROWS)):
        pass
    return swept


def doubled(plane: Plane, y0: int, y1: int, x0: int, x1: int) -> Plane:
    """A rectangle of a plane at twice its resolution: each value for 2 x 2."""
    return plane[np.ix_(np.arange(y0, y1) // 2, np.arange(x0, x1) // 2)]


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


def _band(swept: Swept, variance: Writable, y0: int) -> None:
    job = swept.job
    ny, nx = job.target.shape
    y1 = min(y0 + ROWS, ny)
    rows, coarse = slice(y0 // 2, (y1 + 1) // 2), slice(y0 // 4, (y1 + 3) // 4)
    side, r = block_side((ny, nx)), job.kernel.planes.shape[-1] // 2
    even = r + r % 2
    source = Window(job.source, y0, y1, even, even)
    matched = _matched(job, source, y0, y1, side)
    halve(matched, swept.light[rows])
    kernels = kernels_of(job.kernel, (ny, nx), (y0 + y1 - 1) / 2, side)
    own, wide = swept.own(rows.start, rows.stop, 0, swept.light.shape[1]), even_reach(job.wide)
    target = Window(job.target, y0, y1, max(2, wide), wide)
    through = source.variance()
    noise = np.empty(own.shape, np.float32)
    convolve_rows(through, squared(kernels), side // 2, noise)
    noise += own if job.wide is None else _smoothed(target.variance(), job.wide, own.shape)
    halve(noise, swept.variance[coarse])
    if variance is not None:
        variance[y0:y1] = doubled(noise * np.float32(job.factor**2), 0, y1 - y0, 0, nx)
    inner = through[even // 2 : even // 2 + own.shape[0], even // 2 : even // 2 + own.shape[1]]
    inner = inner * np.float32(job.kernel.kernel_sum**2)
    halve(inner, swept.through[coarse])
    np.subtract(target.convolved(job.wide), matched, out=swept.resid[y0:y1])
    swept.resid[y0:y1] -= sky_of(job.kernel, (ny, nx), y0, y1)
    sigma = np.sqrt(own + inner)
    bits = target.flags(None if job.wide is None else job.wide[None], nx, job.margins[0], sigma)
    other = source.flags(kernels, side, job.margins[1], sigma)
    if job.science_convolved:
        bits, other = other, bits
    swept.mask[y0:y1] = bits | (other.astype(np.uint16) << np.uint16(TEMPLATE_SHIFT))


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


def even_reach(kernel: NDArray[np.float32] | None) -> int:
    """Half the width of a kernel, rounded up to an even number; 0 of none."""
    return 0 if kernel is None else kernel.shape[-1] // 2 + kernel.shape[-1] // 2 % 2


def sky_of(kernel: Kernel, shape: tuple[int, int], y0: int, y1: int) -> Plane:
    """The fitted sky between the frames, of whole rows."""
    u, v = frame_uv(shape, np.arange(shape[1]), np.arange(y0, y1))
    degree = max(max(power) for power in kernel.sky_powers) + 1
    terms = np.zeros((degree, degree))
    for (a, b), value in zip(kernel.sky_powers, kernel.sky_terms, strict=True):
        terms[b, a] = value
    along = np.vander(v, degree, increasing=True) @ terms
    return along.astype(np.float32) @ np.vander(u, degree, increasing=True).T.astype(np.float32)
