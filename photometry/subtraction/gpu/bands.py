"""The second pass over the frames on a GPU: the numbers of `sweep.sweep`, to rounding.

The processor prepares bands of rows (`Window`), each in a thread, hands them to the device, and flags what comes back; the
device does all that lies between.  While one band is convolved, others are prepared, on their way, or flagged.  Masks are
made by the same code as on the CPU, from light and noise that agree to rounding.
"""

from concurrent.futures import Executor, wait
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photometry.mask import TEMPLATE_SHIFT
from photometry.subtraction.gpu.device import Device
from photometry.subtraction.gpu.layout import Layout, Sizes
from photometry.subtraction.solve import Kernel, frame_uv
from photometry.subtraction.sweep import ROWS, Job, Swept, Writable, kernels_of, squared
from photometry.subtraction.window import Window

Array = NDArray[np.float32]


def sweep(job: Job, variance: Writable | None, threads: Executor, device: Device) -> Swept:
    """As `sweep.sweep`.  GpuUnavailableError: the device failed; then nothing of this call works on any more."""
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
    layout = Layout(Sizes.of(job))
    bands = [threads.submit(_band, swept, variance, layout, device, y0) for y0 in range(0, ny, ROWS)]
    try:
        for band in bands:
            band.result()
    finally:  # a band that still runs when another has failed would write where the CPU's sweep does then
        for band in bands:
            band.cancel()
        wait(bands)
    return swept


@dataclass(frozen=True)
class Band:
    """The rows [y0, y1), prepared.  kernels (blocks, k, k): of the rows' middle; pieces: what is uploaded, by name."""

    y0: int
    y1: int
    source: Window
    target: Window
    kernels: Array
    pieces: dict[str, Array]


def prepare(job: Job, sizes: Sizes, y0: int, y1: int) -> Band:
    """What the processor does before the device: both frames' rows with what lies round them, and the kernels."""
    source = Window(job.source, y0, y1, sizes.even, sizes.even)
    target = Window(job.target, y0, y1, max(2, sizes.wide_even), sizes.wide_even)
    kernels = kernels_of(job.kernel, sizes.shape, (y0 + y1 - 1) / 2, sizes.side)
    middles = [top + (sizes.step - 1) / 2 for top in range(y0, y1, sizes.step)]
    down, across = _sky(job.kernel, sizes.shape, y0, y1)
    pieces = {
        "source": source.data,
        "target": target.around(sizes.wide_even),
        "kernels": np.stack([kernels_of(job.kernel, sizes.shape, y, sizes.side) for y in middles]),
        "squares": squared(kernels),
        "sky_down": down,
        "sky_across": across,
        "target_mesh": job.target.noise.nodes,
        "source_mesh": job.source.noise.nodes,
    }
    if job.wide is not None:
        pieces |= {"wide": job.wide, "wide_squares": squared(job.wide[None])[0]}
    return Band(y0, y1, source, target, kernels, pieces)


def _band(swept: Swept, variance: Writable | None, layout: Layout, device: Device, y0: int) -> None:
    job = swept.job
    ny = job.target.shape[0]
    y1 = min(y0 + ROWS, ny)
    half, quarter = slice(y0 // 2, (y1 + 1) // 2), slice(y0 // 4, (y1 + 3) // 4)
    band, whole = prepare(job, layout.sizes, y0, y1), variance is not None
    with device.lane(layout) as lane:
        lane.put(band.pieces)
        lane.run(layout.launches(job, y0, y1, whole=whole), whole=whole)
        swept.resid[y0:y1] = lane.got("resid", y1 - y0)
        swept.light[half] = lane.got("light", half.stop - half.start)
        swept.variance[quarter] = lane.got("variance", quarter.stop - quarter.start)
        swept.through[quarter] = lane.got("scaled", quarter.stop - quarter.start)
        sigma = lane.got("sigma", half.stop - half.start).copy()
        if variance is not None:
            variance[y0:y1] = lane.got("whole", y1 - y0)
    swept.mask[y0:y1] = _flags(job, band, sigma, layout.sizes.side)


def _flags(job: Job, band: Band, sigma: Array, side: int) -> NDArray[np.uint16]:
    """Of a band's rows, the science frame's bits low; sigma: of 2 x 2 pixels, as `Swept.sigma2` has it."""
    bits = band.target.flags(None if job.wide is None else job.wide[None], job.target.shape[1], job.margins[0], sigma)
    other = band.source.flags(band.kernels, side, job.margins[1], sigma)
    if job.science_convolved:
        bits, other = other, bits
    return np.asarray(bits | (other.astype(np.uint16) << np.uint16(TEMPLATE_SHIFT)))


def _sky(kernel: Kernel, shape: tuple[int, int], y0: int, y1: int) -> tuple[Array, Array]:
    """(rows, terms), (terms, nx): the fitted sky of `sweep.sky_of` is their product."""
    u, v = frame_uv(shape, np.arange(shape[1]), np.arange(y0, y1))
    degree = max(max(power) for power in kernel.sky_powers) + 1
    terms = np.zeros((degree, degree))
    for (a, b), value in zip(kernel.sky_powers, kernel.sky_terms, strict=True):
        terms[b, a] = value
    along = np.vander(v, degree, increasing=True) @ terms
    return along.astype(np.float32), np.vander(u, degree, increasing=True).T.astype(np.float32)
