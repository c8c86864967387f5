"""Where the second pass is done: on the GPU, or on the CPU.

`auto`: on the GPU; on the CPU where that is absent or fails, and then a note says why, unless PyCUDA is not installed, for
that is how a node without a GPU is set up.  `require`: on the GPU, or GpuUnavailableError.  `off`: on the CPU.
"""

from concurrent.futures import Executor

from photometry.errors import GpuAbsentError, GpuUnavailableError
from photometry.settings import Gpu
from photometry.subtraction import sweep as cpu
from photometry.subtraction.planes import Planes


def sweep(gpu: Gpu, job: cpu.Job, planes: Planes, threads: Executor) -> tuple[cpu.Swept, bool, str | None]:
    """As `sweep.sweep`; and whether the GPU did it, and a note."""
    if gpu == "off":
        return cpu.sweep(job, planes, threads), False, None
    from photometry.subtraction.gpu import bands
    from photometry.subtraction.gpu.lend import lend

    try:
        with lend() as device:
            return bands.sweep(job, planes, threads, device), True, None
    except GpuUnavailableError as error:
        if gpu == "require":
            raise
        note = None if isinstance(error, GpuAbsentError) else f"no GPU: {error}: subtracted on the CPU"
        return cpu.sweep(job, planes, threads), False, note
