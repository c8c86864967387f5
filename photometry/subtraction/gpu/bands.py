"""The second pass over the frames on a GPU: the numbers of `sweep.sweep`, to rounding.

The processor prepares bands of rows (`Window`), each in a thread, hands them to the device, and flags what comes back; the
device does all that lies between.  While one band is convolved, others are prepared, on their way, or flagged.  Masks are
made by the same code as on the CPU, from light and noise that agree to rounding.
"""

from concurrent.futures import Executor, wait
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photometry.subtraction.gpu.device import Device
from photometry.subtraction.gpu.layout import Layout, Sizes
from photometry.subtraction.planes import Planes
from photometry.subtraction.solve import frame_uv
from photometry.subtraction.sweep import (
    ROWS,
    Found,
    Job,
    Swept,
    complete,
    empty,
    kernels_of,
    passed_variance,
    sky_of,
    squared,
    squares_of,
    windows,
    write_flags,
)
from photometry.subtraction.window import Window

Array = NDArray[np.float32]


def sweep(job: Job, planes: Planes, threads: Executor, device: Device) -> Swept:
    """As `sweep.sweep`.  GpuUnavailableError: the device failed; then nothing of this call works on any more."""
    swept, layout = empty(job, planes), Layout(Sizes.of(job))
    bands = [threads.submit(_band, swept, layout, device, y0) for y0 in range(0, swept.shape[0], ROWS)]
    try:
        found = [band.result() for band in bands]
    finally:  # a band that still runs when another has failed would write where the CPU's sweep does then
        for band in bands:
            band.cancel()
        wait(bands)
    return complete(swept, found)


@dataclass(frozen=True)
class Band:
    """The rows [y0, y1), prepared.  pieces: what is uploaded, by name."""

    y0: int
    y1: int
    source: Window
    target: Window
    pieces: dict[str, Array]


def prepare(job: Job, sizes: Sizes, y0: int, y1: int) -> Band:
    """What the processor does before the device: both frames' rows with what lies round them, and the kernels."""
    source, target = windows(job, y0, y1)
    middles = [top + (sizes.step - 1) / 2 for top in range(y0, y1, sizes.step)]
    down = sky_of(job.kernel, sizes.shape, y0, y1)
    across, _ = frame_uv(sizes.shape, np.arange(sizes.shape[1]), np.zeros(1))
    pieces = {
        "source": source.data,
        "target": target.around(sizes.wide_even),
        "kernels": np.stack([kernels_of(job.kernel, sizes.shape, y, sizes.side) for y in middles]),
        "squares": np.stack(squares_of(job.kernel, sizes.shape, y0, y1)),
        "sky_down": down.astype(np.float32),
        "scales": job.scales(y0, y1).astype(np.float32),
        "sky_across": np.vander(across, down.shape[1], increasing=True).T.astype(np.float32),
        "target_mesh": job.target.noise.nodes,
        "source_mesh": job.source.noise.nodes,
    }
    if job.science_convolved:
        pieces["through"] = passed_variance(job, source, target)
    if job.wide is not None:
        pieces |= {"wide": job.wide, "wide_squares": squared(job.wide[None])[0]}
    return Band(y0, y1, source, target, pieces)


def _band(swept: Swept, layout: Layout, device: Device, y0: int) -> Found:
    job, variance = swept.job, swept.planes.variance
    y1 = min(y0 + ROWS, swept.shape[0])
    half, quarter = slice(y0 // 2, (y1 + 1) // 2), slice(y0 // 4, (y1 + 3) // 4)
    band, whole = prepare(job, layout.sizes, y0, y1), variance is not None
    with device.lane(layout) as lane:
        lane.put(band.pieces)
        lane.run(layout.launches(job, y0, y1, whole=whole), whole=whole)
        swept.planes.data[y0:y1] = lane.got("difference", y1 - y0)
        swept.light[half] = lane.got("light", half.stop - half.start)
        swept.variance[quarter] = lane.got("variance", quarter.stop - quarter.start)
        swept.through[quarter] = lane.got("scaled", quarter.stop - quarter.start)
        if variance is not None:
            variance[y0:y1] = lane.got("whole", y1 - y0)
    return write_flags(swept, band.source, band.target, y0, y1)
