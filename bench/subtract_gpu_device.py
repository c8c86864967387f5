"""What the device itself takes for a whole frame: bands that lie ready in pinned memory, there and back.

The frames are synthetic; the processor's part, which is the CPU path's too, is not in these figures.
"""

import contextlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from scipy import ndimage

from bench.table import Row, percentile
from photometry.subtraction import sweep as cpu
from photometry.subtraction.gpu import bands
from photometry.subtraction.gpu.device import FLOAT_BYTES, LANES, Device, Lane
from photometry.subtraction.gpu.layout import Launch, Layout, Sizes
from photometry.subtraction.gpu.lend import lend
from photometry.subtraction.planes import Planes
from photometry.subtraction.plate import Mesh, Plate
from photometry.subtraction.raw import Raw
from photometry.subtraction.solve import Kernel

SIZE, HALF = 10560, 15
TIMES = 20
ALLOWED_SIGMA = 1e-3
PARITY_ROWS = 600
PEAK_OF_A_CORE = 2 * 128  # fp32 operations of a multiprocessor of a Hopper in a cycle
ENERGY_SECONDS = 5.0
GIGABYTE = 1e9


class Frame:
    """A frame's bands on their lanes: every lane has its band, and stands for those that would follow on it."""

    def __init__(self, gpu: Device, job: cpu.Job, lanes: list[Lane], layout: Layout) -> None:
        self.gpu, self.layout, self.lanes = gpu, layout, lanes
        for i, lane in enumerate(lanes):
            lane.put(bands.prepare(job, layout.sizes, i * cpu.ROWS, (i + 1) * cpu.ROWS).pieces)
            lane.upload()
        self.launches = [list(layout.launches(job, i * cpu.ROWS, (i + 1) * cpu.ROWS, whole=True)) for i in range(len(lanes))]
        self.bands = -(-layout.sizes.shape[0] // cpu.ROWS)

    def seconds(self, step: Callable[["Frame", int], None]) -> float:
        """Median over TIMES frames; a step queues one thing for a lane, whose band before has then been waited for."""
        found = []
        for _ in range(TIMES + 1):
            began = time.perf_counter()
            for band in range(self.bands):
                step(self, band % len(self.lanes))
            for lane in self.lanes:
                lane.wait()
            found.append(time.perf_counter() - began)
        return percentile(found[1:], 50)


@contextlib.contextmanager
def frame() -> Iterator[Frame]:
    """A frame of SIZE^2, ready."""
    job = _job((SIZE, SIZE))
    layout = Layout(Sizes.of(job))
    with lend() as gpu, contextlib.ExitStack() as stack:
        lanes = [stack.enter_context(gpu.lane(layout)) for _ in range(LANES)]
        yield Frame(gpu, job, lanes, layout)


def require() -> None:
    """GpuUnavailableError where there is none."""
    with lend():
        pass


def compute(ready: Frame, lane: int) -> None:
    """All kernels of a band."""
    ready.lanes[lane].compute(ready.launches[lane])


def round_trip(ready: Frame, lane: int) -> None:
    """Up, kernels, down."""
    ready.lanes[lane].upload()
    ready.lanes[lane].compute(ready.launches[lane])
    ready.lanes[lane].download(whole=True)


def milliseconds(limit: float, step: Callable[[Frame, int], None], figure: str, goal: str) -> Row:
    """Of a frame."""
    with frame() as ready:
        taken = 1e3 * ready.seconds(step)
    return Row(figure, goal, f"median {taken:.1f} ms, n={TIMES}", taken <= limit)


def share(figure: str, goal: str) -> Row:
    """Of the useful multiply-adds of K * source alone, at the highest clock that the driver names."""
    with frame() as ready:
        taken = ready.seconds(lambda f, lane: f.lanes[lane].compute([_matching(f.launches[lane])]))
        device, names = ready.gpu.driver.Device(0), ready.gpu.driver.device_attribute
        cores, hertz = (device.get_attribute(name) for name in (names.MULTIPROCESSOR_COUNT, names.CLOCK_RATE))
    operations = 2 * (2 * HALF + 1) ** 2 * SIZE**2
    part = operations / taken / (cores * PEAK_OF_A_CORE * hertz * 1e3)
    return Row(figure, goal, f"{part:.0%}: {operations / taken / 1e12:.1f} TFLOP/s, {1e3 * taken:.2f} ms", part >= 0.6)


def _matching(launches: list[Launch]) -> Launch:
    """The convolution of the pixels: the one with the most blocks."""
    return max((one for one in launches if one.function == "convolve"), key=lambda one: one.grid[0] * one.grid[1])


def overlap(figure: str, goal: str) -> Row:
    """What goes over the bus, how fast alone, and how much of it is hidden behind the rest."""
    with frame() as ready:
        up = ready.seconds(lambda f, lane: f.lanes[lane].upload())
        down = ready.seconds(lambda f, lane: f.lanes[lane].download(whole=True))
        alone, together = ready.seconds(compute), ready.seconds(round_trip)
        layout, count = ready.layout, ready.bands
    sent, got = (FLOAT_BYTES * count * floats / GIGABYTE for floats in (layout.sent, layout.got - layout.sent))
    hidden = (up + down + alone - together) / (up + down + alone)
    said = f"up {sent:.2f} GB at {sent / up:.0f} GB/s, down {got:.2f} GB at {got / down:.0f} GB/s, {hidden:.0%} hidden"
    return Row(figure, goal, said, met=True)


def memory(figure: str, goal: str) -> Row:
    """All that is in use on the device while every lane has its memory, the context's own and other programs' too."""
    with frame() as ready:
        free, total = ready.gpu.driver.mem_get_info()
        lanes = FLOAT_BYTES * LANES * ready.layout.floats / GIGABYTE
    used = (total - free) / GIGABYTE
    return Row(figure, goal, f"{used:.2f} GB, lanes {lanes:.2f} of it", used < 4)


def energy(figure: str, goal: str) -> Row:
    """Mean power as nvidia-smi says it, times the time of a frame."""
    watts: list[float] = []
    words = ["nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits", "-i", "0", "-lms", "100"]
    with frame() as ready, subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as meter:
        assert meter.stdout is not None
        reader = threading.Thread(target=lambda lines: watts.extend(float(line) for line in lines), args=(meter.stdout,))
        reader.start()
        until, taken = time.monotonic() + ENERGY_SECONDS, []
        while time.monotonic() < until:
            taken.append(ready.seconds(round_trip))
        meter.terminate()
        reader.join()
    power = percentile(watts, 50)
    said = f"{power * percentile(taken, 50):.1f} J at {power:.0f} W, n={len(watts)} readings"
    return Row(figure, goal, said, met=True)


def parity(figure: str, goal: str) -> Row:
    """A strip of a frame of that width by both paths."""
    job = _job((PARITY_ROWS, SIZE), noisy=True)
    with ThreadPoolExecutor() as threads, lend() as gpu:
        mine = bands.sweep(job, Planes.in_memory(job.target.shape), threads, gpu).planes
        theirs = cpu.sweep(job, Planes.in_memory(job.target.shape), threads).planes
    worst = float((np.abs(mine.data - theirs.data) / np.sqrt(theirs.variance)).max())
    off = float(np.abs(mine.variance / theirs.variance - 1).max())
    bits = int(np.count_nonzero(mine.mask != theirs.mask))
    said = f"{worst:.1e} sigma, variance {off:.0e}, {bits} pixels flagged otherwise, {PARITY_ROWS} x {SIZE}"
    return Row(figure, goal, said, worst <= ALLOWED_SIGMA)


@cache
def _job(shape: tuple[int, int], *, noisy: bool = False) -> cpu.Job:
    """Sky alone, every row the same, for a frame of noise takes seconds and memory; noisy: noise, stars and holes."""
    rng = np.random.default_rng(1)
    rows = shape[0] if noisy else 1
    places = rng.integers(0, rows, rows), rng.integers(0, shape[1], rows)
    stars = np.zeros((rows, shape[1]), np.float32)
    if noisy:
        stars[places] = rng.exponential(1e5, rows)
        stars = ndimage.gaussian_filter(stars, 1.6)
    plates = []
    for gain in (1.5, 6.0):
        pixels = stars + rng.normal(500, 8, stars.shape).astype(np.float32)
        if noisy:
            pixels[places[0][::9], places[1][::9]] = np.nan
        pixels = np.broadcast_to(pixels, shape)
        cells = max(shape[0] // 64, 1), shape[1] // 64
        sky, noise = (Mesh(np.full(cells, level, np.float32), 64) for level in (500, 64))
        plates.append(Plate(Raw(pixels, gain, 5.0, 6e4), sky, noise, None))
    powers = [(a, b) for a in range(4) for b in range(4 - a)]
    axis = np.arange(-HALF, HALF + 1)
    gauss = np.exp(-0.5 * (axis[:, None] ** 2 + axis[None, :] ** 2) / 2.0**2)
    planes = rng.normal(0, 1e-4, (len(powers), *gauss.shape)) * gauss
    planes[0] += gauss / gauss.sum()
    sky_powers = [(a, b) for a in range(3) for b in range(3 - a)]
    kernel = Kernel(planes, powers, np.ones(len(sky_powers)), sky_powers, 1.0, 99, 0, 3)
    return cpu.Job(plates[0], plates[1], kernel, None, (6, 6), science_convolved=False)
