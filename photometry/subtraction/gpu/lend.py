"""Which GPU a process has, and from when to when.

Guarantees: the context is made where it is first lent, so in a worker after its fork; it stays, with its lanes, for the
process's next sweep; it is detached at the process's end and after an error; one that a parent process made is never
touched; one that did not answer is not asked again.  One sweep at a time has it.
"""

import atexit
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from photometry.errors import GpuAbsentError, GpuUnavailableError
from photometry.subtraction.gpu.device import Device, failures, one_line


class _Keeper:
    """The process's device, and those of parent processes, which must not even be forgotten: PyCUDA would free them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.device: Device | None = None
        self.inherited: list[Device] = []
        self.silence: GpuUnavailableError | None = None  # of a device that did not answer, which is not asked again

    def close(self) -> None:
        device, self.device = self.device, None
        if device is not None:
            device.close()

    def forked(self) -> None:
        self.lock, self.silence = threading.Lock(), None
        if self.device is not None:
            self.inherited.append(self.device)
            self.device = None


_KEEPER = _Keeper()
atexit.register(_KEEPER.close)
os.register_at_fork(after_in_child=_KEEPER.forked)


@contextmanager
def lend() -> Iterator[Device]:
    """The process's device, opened where it is not; after a failure of the device it is closed.

    GpuAbsentError: PyCUDA is not installed.  GpuUnavailableError: it is, and there is no device that works.
    """
    with _KEEPER.lock:
        if _KEEPER.silence is not None:
            raise GpuUnavailableError(str(_KEEPER.silence))
        if _KEEPER.device is None:
            _KEEPER.device = Device(_driver())
        device = _KEEPER.device
        try:
            yield device
        except GpuUnavailableError as error:
            if device.lost:
                _KEEPER.silence = error
            _KEEPER.close()
            raise


def _driver() -> ModuleType:
    """pycuda.driver, ready, on a machine that has a device."""
    try:
        from pycuda import driver
    except ModuleNotFoundError as error:
        if error.name == "pycuda":
            raise GpuAbsentError("pycuda is not installed; install it, or set photometry.gpu to auto") from error
        raise GpuUnavailableError(f"pycuda cannot be loaded: {one_line(error)}; install it anew") from error
    except ImportError as error:
        raise GpuUnavailableError(f"pycuda cannot be loaded: {one_line(error)}; is NVIDIA's driver installed?") from error
    with failures(driver, "no device"):
        driver.init()
        if not driver.Device.count():
            raise GpuUnavailableError("no device: the driver sees none; see nvidia-smi and CUDA_VISIBLE_DEVICES")
    found: ModuleType = driver
    return found
