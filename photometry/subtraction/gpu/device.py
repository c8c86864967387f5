"""An open GPU through PyCUDA: its context, its code, and the lanes on which bands of rows go there and back.

Guarantees: an error of the driver, of PyCUDA or of the compiler is a GpuUnavailableError that says what is wrong and what to
do, and so is a band that is not done after ANSWER_SECONDS; a call of the driver that does not return is left to the worker's
own time limit.  The context is current in a thread only while that thread has a lane.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.errors import GpuUnavailableError
from photometry.subtraction.gpu import cubin
from photometry.subtraction.gpu.layout import FLOAT_BYTES, Argument, At, Launch, Layout

LANES = 8  # at the most: more than the bus and the device need to be busy all the time
ANSWER_SECONDS = 20.0  # for one band, which takes a few milliseconds
POLL_SECONDS = 1e-4
FUNCTIONS = ("convolve", "spread", "subtract", "weigh")
PLAIN_SHARED_BYTES = 48 << 10  # that a function may have without asking


@contextmanager
def failures(driver: ModuleType, what: str) -> Iterator[None]:
    """What the driver says goes wrong meanwhile, as a GpuUnavailableError."""
    try:
        yield
    except driver.MemoryError as error:
        raise GpuUnavailableError(
            f"{what}: out of memory ({one_line(error)}); let fewer workers run at once, or set photometry.gpu: off"
        ) from error
    except driver.Error as error:
        raise GpuUnavailableError(f"{what}: {one_line(error)}; see nvidia-smi and the kernel's log") from error


def one_line(error: Exception) -> str:
    """What it says."""
    return " ".join(str(error).split()) or type(error).__name__


class Device:
    """An open device.  driver: pycuda.driver, after its init().

    lost: it did not answer; nothing more is asked of it, for it would not answer a goodbye either.
    """

    def __init__(self, driver: ModuleType) -> None:
        self.driver = driver
        self._free: list[Lane] = []
        self._made: list[Lane] = []
        self._change = threading.Condition()
        self._shared: dict[str, int] = {}  # bytes that each function which was launched may have
        self.lost = False
        with failures(driver, "the GPU cannot be opened"):
            device = driver.Device(0)
            architecture = "sm_{}{}".format(*device.compute_capability())
            self._context = device.retain_primary_context()
        try:
            code = cubin.code_for(architecture)
            with self._current(), failures(driver, f"the code for {architecture} cannot be loaded"):
                module = driver.module_from_buffer(code)
                self.functions = {name: module.get_function(name) for name in FUNCTIONS}
        except BaseException:
            self.close()
            raise

    @contextmanager
    def lane(self, layout: Layout) -> Iterator["Lane"]:
        """A lane that fits, for one thread, in which the context is current meanwhile."""
        with self._current():
            lane = self._take(layout)
            try:
                yield lane
            finally:
                with self._change:
                    self._free.append(lane)
                    self._change.notify()

    def launch(self, launch: Launch, base: int, stream: Any) -> None:
        """Queue a function whose planes lie behind `base`."""
        function = self.functions[launch.function]
        with self._change:
            if launch.function not in self._shared:
                function.prepare("".join(map(_kind, launch.arguments)))
                self._shared[launch.function] = PLAIN_SHARED_BYTES
            if launch.shared_bytes > self._shared[launch.function]:
                most = self.driver.function_attribute.MAX_DYNAMIC_SHARED_SIZE_BYTES
                function.set_attribute(most, launch.shared_bytes)
                self._shared[launch.function] = launch.shared_bytes
        words = [_word(argument, base) for argument in launch.arguments]
        function.prepared_async_call(launch.grid, launch.block, stream, *words, shared_size=launch.shared_bytes)

    def close(self) -> None:
        """Free the lanes and detach the context; nobody has a lane."""
        if self.lost:
            return
        with suppress(self.driver.Error):
            self._context.push()
            for lane in self._made:
                with suppress(self.driver.Error):
                    lane.free()
            self._context.detach()
        self._made, self._free = [], []

    @contextmanager
    def _current(self) -> Iterator[None]:
        with failures(self.driver, "the GPU's context is gone"):
            self._context.push()
        try:
            yield
        finally:
            with suppress(self.driver.Error):
                self.driver.Context.pop()

    def _take(self, layout: Layout) -> "Lane":
        """A free lane, or a new one, or the next that becomes free."""
        with self._change:
            while not self._free and len(self._made) == LANES:
                self._change.wait()  # whoever has one gives it back within ANSWER_SECONDS
            if self.lost:
                raise GpuUnavailableError("the GPU did not answer on another lane; see nvidia-smi")
            if self._free:
                lane = self._free.pop()
            else:
                lane = Lane(self)
                self._made.append(lane)
            try:
                lane.fit(layout)
            except BaseException:
                self._free.append(lane)
                raise
            return lane


class Lane:
    """A stream, a block of the device's memory, and pinned memory of the host on both ways; for one thread at a time.

    Where a method fails, GpuUnavailableError.
    """

    def __init__(self, device: Device) -> None:
        self._device, self._driver = device, device.driver
        self._layout: Layout | None = None
        self._block: Any = None
        self._sent = self._got = np.empty(0, np.float32)
        with failures(self._driver, "no lane can be made"):
            self._stream, self._done = self._driver.Stream(), self._driver.Event()

    def fit(self, layout: Layout) -> None:
        """Have memory for bands of that layout."""
        if self._layout is not None and self._layout.sizes == layout.sizes:
            return
        self._layout = None
        self.free()
        with failures(self._driver, f"{FLOAT_BYTES * layout.floats >> 20} MB for a band"):
            self._block = self._driver.mem_alloc(FLOAT_BYTES * layout.floats)
            self._sent = self._driver.pagelocked_empty(layout.sent, np.float32)
            self._got = self._driver.pagelocked_empty(layout.got - layout.sent, np.float32)
        self._layout = layout

    def put(self, pieces: Mapping[str, NDArray[np.float32]]) -> None:
        """Copy rows of pieces to where they are uploaded from; the last band of a frame has fewer."""
        for name, array in pieces.items():
            self._view(name, self._sent, 0)[: len(array)] = array

    def run(self, launches: Iterable[Launch], *, whole: bool) -> None:
        """Upload, compute, download, and wait for it; whole: the variance of every pixel is downloaded too."""
        self.upload()
        self.compute(launches)
        self.download(whole=whole)
        self.wait()

    def upload(self) -> None:
        """Queue it."""
        with failures(self._driver, "upload"):
            self._driver.memcpy_htod_async(int(self._block), self._sent, self._stream)

    def compute(self, launches: Iterable[Launch]) -> None:
        """Queue it."""
        for launch in launches:
            with failures(self._driver, launch.function):
                self._device.launch(launch, int(self._block), self._stream)

    def download(self, *, whole: bool) -> None:
        """Queue it."""
        layout = self._fitted
        stop = layout.got if whole else layout.pieces["whole"].start
        with failures(self._driver, "download"):
            start = int(self._block) + FLOAT_BYTES * layout.sent
            self._driver.memcpy_dtoh_async(self._got[: stop - layout.sent], start, self._stream)

    def wait(self) -> None:
        """Until all that was queued is done."""
        with failures(self._driver, "the GPU failed"):
            self._done.record(self._stream)
            until = time.monotonic() + ANSWER_SECONDS
            while not self._done.query():
                if time.monotonic() > until:
                    self._device.lost = True
                    raise GpuUnavailableError(f"the GPU did not answer for {ANSWER_SECONDS:g} s; see nvidia-smi")
                time.sleep(POLL_SECONDS)

    def got(self, name: str, rows: int) -> NDArray[np.float32]:
        """The first rows of a piece that was downloaded; good until the next band."""
        return self._view(name, self._got, self._fitted.sent)[:rows]

    def free(self) -> None:
        """Give the memory back."""
        pinned: list[Any] = [self._sent.base, self._got.base]  # numpy knows it as no more than a buffer
        for memory in pinned:
            if memory is not None:
                memory.free()
        if self._block is not None:
            self._block.free()
        self._block, self._sent, self._got = None, np.empty(0, np.float32), np.empty(0, np.float32)

    @property
    def _fitted(self) -> Layout:
        assert self._layout is not None
        return self._layout

    def _view(self, name: str, array: NDArray[np.float32], first: int) -> NDArray[np.float32]:
        piece = self._fitted.pieces[name]
        return array[piece.start - first : piece.stop - first].reshape(piece.shape)


def _kind(argument: Argument) -> str:
    """As struct has it."""
    if argument is None or isinstance(argument, At):
        return "P"
    return "f" if isinstance(argument, float) else "i"


def _word(argument: Argument, base: int) -> int | float:
    if isinstance(argument, At):
        return base + FLOAT_BYTES * argument.floats
    return 0 if argument is None else argument
