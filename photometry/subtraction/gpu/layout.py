"""Where everything of a band of rows lies in a lane's memory, and what is launched on it: numbers only, no device.

A lane's block on the device is what is uploaded, what is downloaded, and what is needed in between, in this order; each
part begins at a multiple of 256 bytes.  ValueError where the blocks of one kernel are none that `convolve` can take.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from photometry.subtraction.sweep import BLOCK_ROWS, NOISE_ROWS, ROWS, Job, block_side, even_reach
from photometry.subtraction.window import LEAST_SHARE

FLOAT_BYTES = 4
_ALIGNED = 64  # floats
_TILE_ROWS, _TILE_COLUMNS, _TAPS = 5, 8, 4  # as in kernels.cu
_MOST_THREADS = 96  # as in kernels.cu
_PAIRED_COLUMNS = 4  # of threads; where there are more, rows of threads go in pairs
_WIDEST = 64  # columns of one block of threads
_FLAT_ROWS = 30  # of one where the kernel does not change along the rows
_PLAIN = (32, 8, 1)  # threads of what is no convolution

Shape = tuple[int, ...]
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class At:
    """An argument of a launch: a place in the lane's block, in floats from its beginning."""

    floats: int


Argument = At | int | float | None  # None: no such plane, a null pointer


@dataclass(frozen=True)
class Launch:
    """A function of kernels.cu, the threads that run it, their shared memory, and its arguments in order."""

    function: str
    grid: Triple
    block: Triple
    shared_bytes: int
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class Piece:
    """A plane within a lane's block, rows one behind the other: its first float, and its shape for a band of ROWS rows."""

    start: int
    shape: Shape

    @property
    def stop(self) -> int:
        """Behind its last float."""
        return self.start + math.prod(self.shape)


@dataclass(frozen=True)
class Sizes:
    """What the layout follows from: of the frame, of the kernel's blocks, and how far the kernels reach.

    k, wide_k: widths of the kernels, wide_k 0 without a wide one; even, wide_even: their reaches, rounded up to even ones.
    given: the source's variance is uploaded, and not made on the device.
    """

    shape: tuple[int, int]
    side: int
    step: int
    k: int
    even: int
    wide_k: int
    wide_even: int
    given: bool
    terms: int
    target_mesh: tuple[int, int]
    source_mesh: tuple[int, int]

    @classmethod
    def of(cls, job: Job) -> "Sizes":
        """Of a subtraction."""
        shape, k = job.target.shape, job.kernel.planes.shape[-1]
        side = block_side(shape)
        wide_k = 0 if job.wide is None else job.wide.shape[-1]
        terms = max(max(power) for power in job.kernel.sky_powers) + 1
        meshes = [(nodes.shape[0], nodes.shape[1]) for nodes in (job.target.noise.nodes, job.source.noise.nodes)]
        even = k // 2 + k // 2 % 2
        wide_even = even_reach(job.wide)
        return cls(shape, side, BLOCK_ROWS[side], k, even, wide_k, wide_even, job.science_convolved, terms, *meshes)

    @property
    def blocks(self) -> int:
        """Kernels across the frame."""
        return -(-self.shape[1] // self.side)

    @property
    def squares_k(self) -> int:
        """Width of a squared kernel on 2 x 2 pixels."""
        return self.even + 1

    @property
    def wide_squares_k(self) -> int:
        """The same of the wide kernel."""
        return self.wide_even + 1


class Layout:
    """The pieces of a lane's block by name; [0, sent) of it is uploaded, [sent, got) downloaded, [got, floats) neither."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes, self.pieces = sizes, {}
        self.sent = self._place(0, _uploaded(sizes))
        self.got = self._place(self.sent, _downloaded(sizes))
        self.floats = self._place(self.got, _between(sizes))

    pieces: dict[str, Piece]

    def _place(self, start: int, shapes: Mapping[str, Shape]) -> int:
        for name, shape in shapes.items():
            self.pieces[name] = Piece(start, shape)
            start = -(-self.pieces[name].stop // _ALIGNED) * _ALIGNED
        return start

    def launches(self, job: Job, y0: int, y1: int, *, whole: bool) -> Iterator[Launch]:
        """All that is done to the rows [y0, y1), in order; whole: the variance of every pixel is wanted too."""
        s, rows, nx = self.sizes, y1 - y0, self.sizes.shape[1]
        high, across = (rows + 1) // 2, (nx + 1) // 2
        r, source_pitch = s.k // 2, nx + 2 * s.even
        if not s.given:
            yield self._spread(job, "source", y0, rows, s.even)
        inside = self.at("source", (s.even - r) * (source_pitch + 1))
        blocked = (s.side, s.step, 1, s.blocks)
        yield self._convolve(inside, source_pitch, "kernels", s.k, blocked, (rows, nx), "matched")
        halved = (s.side // 2, NOISE_ROWS // 2, 1, s.blocks)
        pitch = across + s.even
        yield self._convolve(self.at("through"), pitch, "squares", s.squares_k, halved, (high, across), "noise")
        target = self.at("target")
        if s.wide_k:
            yield self._spread(job, "target", y0, rows, s.wide_even)
            target_pitch, flat = nx + 2 * s.wide_even, (_WIDEST, _FLAT_ROWS, 0, 0)
            inside = self.at("target", (s.wide_even - s.wide_k // 2) * (target_pitch + 1))
            yield self._convolve(inside, target_pitch, "wide", s.wide_k, flat, (rows, nx), "smooth_target")
            pitch = across + s.wide_even
            near = self.at("target_variance")
            yield self._convolve(near, pitch, "wide_squares", s.wide_squares_k, flat, (high, across), "smooth")
            target = self.at("smooth_target")
        yield _plain("subtract", rows, nx, (
            target, self.at("matched"), self.at("sky_down"), self.at("sky_across"), s.terms, self.at("scales"),
            rows, nx, self.at("difference"),
        ))  # fmt: skip
        yield self._weigh(job, y0, rows, whole=whole)

    def at(self, name: str, skip: int = 0) -> At:
        """Where a piece begins, or `skip` floats behind that."""
        return At(self.pieces[name].start + skip)

    def _spread(self, job: Job, frame: str, y0: int, rows: int, reach: int) -> Launch:
        plate, out = (job.source, "through") if frame == "source" else (job.target, "target_variance")
        height, width = rows + 2 * reach, self.sizes.shape[1] + 2 * reach
        return _plain("spread", (height + 1) // 2, (width + 1) // 2, (
            self.at(frame), height, width, self.at(f"{frame}_mesh"), *plate.noise.nodes.shape, plate.noise.side // 2,
            (y0 - reach) // 2, -reach // 2, float(plate.gain), LEAST_SHARE, self.at(out),
        ))  # fmt: skip

    def _convolve(
        self, source: At, pitch: int, kernels: str, k: int, blocks: tuple[int, int, int, int], shape: Shape, out: str
    ) -> Launch:
        """blocks: columns and rows of one kernel, and how many kernels one block to the right and one down is."""
        (side, rows, across, down), (height, width) = blocks, shape
        threads, shared = _tile(side, rows, k)
        return Launch(
            "convolve", (-(-width // side), -(-height // rows), 1), (threads, 1, 1), shared,
            (source, pitch, self.at(kernels), k, across, down, side, rows, height, width, self.at(out)),
        )  # fmt: skip

    def _weigh(self, job: Job, y0: int, rows: int, *, whole: bool) -> Launch:
        s, target, nx = self.sizes, job.target, self.sizes.shape[1]
        pitch = (nx + 1) // 2 + s.even
        shown = self.at("target" if s.given else "matched")
        return _plain("weigh", (rows + 3) // 4, (nx + 3) // 4, (
            shown, rows, nx, self.at("target_mesh"), *target.noise.nodes.shape, target.noise.side // 2,
            y0 // 2, float(target.gain), LEAST_SHARE, self.at("through", s.even // 2 * (pitch + 1)), pitch,
            float(job.kernel.kernel_sum) ** 2, self.at("smooth") if s.wide_k else None, self.at("noise"),
            float(job.factor), self.at("light"), self.at("variance"), self.at("scaled"),
            self.at("whole") if whole else None,
        ))  # fmt: skip


def _uploaded(s: Sizes) -> dict[str, Shape]:
    nx = s.shape[1]
    found: dict[str, Shape] = {
        "source": (ROWS + 2 * s.even, nx + 2 * s.even),
        "target": (ROWS + 2 * s.wide_even, nx + 2 * s.wide_even),
        "kernels": (-(-ROWS // s.step), s.blocks, s.k, s.k),
        "squares": (-(-ROWS // NOISE_ROWS), s.blocks, s.squares_k, s.squares_k),
        "sky_down": (ROWS, s.terms),
        "scales": (ROWS, 2),
        "sky_across": (s.terms, nx),
        "target_mesh": s.target_mesh,
        "source_mesh": s.source_mesh,
    }
    if s.given:
        found["through"] = _through(s)
    if s.wide_k:
        found |= {"wide": (s.wide_k, s.wide_k), "wide_squares": (s.wide_squares_k, s.wide_squares_k)}
    return found


def _downloaded(s: Sizes) -> dict[str, Shape]:
    """`whole` last: where it is not wanted, the download ends before it."""
    nx, half, quarter = s.shape[1], (ROWS + 1) // 2, (ROWS + 3) // 4
    return {
        "difference": (ROWS, nx),
        "light": (half, (nx + 1) // 2),
        "variance": (quarter, (nx + 3) // 4),
        "scaled": (quarter, (nx + 3) // 4),
        "whole": (ROWS, nx),
    }


def _between(s: Sizes) -> dict[str, Shape]:
    nx, half = s.shape[1], (ROWS + 1) // 2
    across = (nx + 1) // 2
    found: dict[str, Shape] = {"matched": (ROWS, nx), "noise": (half, across)}
    if not s.given:
        found["through"] = _through(s)
    if s.wide_k:
        found["target_variance"] = (half + s.wide_even, across + s.wide_even)
        found |= {"smooth_target": (ROWS, nx), "smooth": (half, across)}
    return found


def _through(s: Sizes) -> Shape:
    return (ROWS + 1) // 2 + s.even, (s.shape[1] + 1) // 2 + s.even


def _tile(side: int, rows: int, k: int) -> tuple[int, int]:
    """Threads of a block of convolve() that makes rows x side pixels, and bytes of its shared memory; see kernels.cu."""
    columns, down = side // _TILE_COLUMNS, -(-rows // _TILE_ROWS)
    unpaired = columns > _PAIRED_COLUMNS and down % 2
    if side % _TILE_COLUMNS or side > _WIDEST or unpaired or columns * down > _MOST_THREADS:
        raise ValueError(f"no block of threads is made for {rows} x {side} pixels of one kernel")
    pieces = -(-k // _TAPS)
    pitch = _TAPS * ((side // _TAPS + pieces) | 1)
    return columns * down, FLOAT_BYTES * (_TAPS * pieces * k + (down * _TILE_ROWS + k - 1) * pitch)


def _plain(function: str, height: int, width: int, arguments: tuple[Argument, ...]) -> Launch:
    """A thread for each of height x width places."""
    across, down, _ = _PLAIN
    return Launch(function, (-(-width // across), -(-height // down), 1), _PLAIN, 0, arguments)
