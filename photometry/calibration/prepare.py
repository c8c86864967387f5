"""Frames that masters are made of: opened, judged, and brought band by band as far as their master needs them."""

import tempfile
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from photometry.calibration.geometry import Geometry, Rank
from photometry.calibration.rawframe import RawFrame, open_raw
from photometry.calibration.stages import CHARGE, LIGHT, Band, Recipe, Smear, smear_of
from photometry.cards import Cards, frame_kind, text
from photometry.detector import detector
from photometry.file_plane import FilePlane
from photometry.fits_map import Pixels, open_pixels
from photometry.instrument import Instrument
from photometry.loops.readout import add_columns
from photometry.mask import Bit
from photometry.times import exposure_of

Plane = NDArray[np.float32]
Bits = NDArray[np.uint16]

SAMPLE_STEP = 8  # every so many rows and columns of a frame for its level and its gradient


@dataclass(frozen=True)
class Opened:
    """A raw frame of the instrument; kind: bias, dark, flat, science, '' where nobody says; band: its filter."""

    path: Path
    kind: str
    band: str
    seconds: float | None
    frame: RawFrame


@dataclass(frozen=True)
class Tilt:
    """A plane over the chip: level + across x + up y."""

    level: float = 1.0
    across: float = 0.0
    up: float = 0.0

    def over(self, rows: slice, columns: int) -> Plane:
        """(h, columns)"""
        x, y = np.arange(columns, dtype=np.float32), np.arange(rows.start, rows.stop, dtype=np.float32)
        line = np.float32(self.level) + np.float32(self.across) * x
        return np.asarray(line[None, :] + np.float32(self.up) * y[:, None], np.float32)


@dataclass(frozen=True)
class Prepared:
    """A frame with what to do to it: charge by the recipe, the smear of each rank; unit: what the charge is divided by.

    light: on to electrons; sample: some of its pixels, (rows, columns) in steps of `SAMPLE_STEP`, NaN where flagged.
    """

    opened: Opened
    recipe: Recipe
    smears: dict[Rank, Smear]
    light: bool
    sample: Plane
    unit: Tilt = Tilt()

    def bands(self, first: int, last: int) -> list[Band]:
        """Of each rank, as `photometry.calibration.rawframe.RawFrame.read` has its rows; flagged: BAD, SATURATED."""
        bands = _charge(self.opened.frame, self.recipe, first, last)
        for band in bands:
            for name, stage in LIGHT:
                if self.light or name == "smear":
                    stage(band, self.recipe, self.smears.get(band.rank))
        return bands


def open_frame(
    path: Path, instrument: Instrument, stack: ExitStack, threads: Executor, scratch: Path, most: float
) -> Opened:
    """Good until the stack is closed; a compressed frame is unpacked into a nameless file in `scratch`.

    BadFrameError: no frame of this instrument.
    """
    pixels = stack.enter_context(open_pixels(path, most))
    if isinstance(pixels.values, np.ndarray):
        pixels = replace(pixels, values=_spooled(pixels, stack, scratch))
    ny, nx = (int(side) for side in pixels.values.shape)
    notes: list[str] = []
    geometry = Geometry(detector(instrument, pixels.header, (ny, nx), notes))
    when = exposure_of(pixels.header, instrument.time)
    frame = open_raw(pixels, geometry, threads, notes)
    return Opened(path, frame_kind(pixels.header), filter_of(instrument, pixels.header), when.seconds, frame)


def filter_of(instrument: Instrument | None, header: Cards) -> str:
    """The frame's filter as a word for names of files; 'any' where the header does not say."""
    names = instrument.filters.cards if instrument is not None and instrument.filters else ("FILTER",)
    said = next((found for found in (text(header, name) for name in names) if found), "any")
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in said)[:32]


def prepare(opened: Opened, recipe: Recipe, threads: Executor, *, light: bool) -> Prepared:
    """Look at the whole frame once, for its smear and its sample."""
    frame, shape = opened.frame, opened.frame.geometry.detector.chip_shape
    sample = np.full((-(-shape[0] // SAMPLE_STEP), -(-shape[1] // SAMPLE_STEP)), np.nan, np.float32)
    parts = list(threads.map(partial(_look, frame, recipe, sample), frame.bands))
    row = frame.geometry.detector.row_seconds
    smears: dict[Rank, Smear] = {}
    if row is not None and recipe.seconds and recipe.seconds > row:
        for rank in frame.geometry.ranks:
            sums = np.sum([part[rank] for part in parts], axis=0)
            smears[rank] = smear_of(sums, frame.geometry.rows, row / recipe.seconds)
    for rank in frame.geometry.ranks:
        rows = frame.geometry.chip_rows(rank, 0, frame.geometry.rows)
        mine = slice(-(-rows.start // SAMPLE_STEP), -(-rows.stop // SAMPLE_STEP))
        if rank in smears:
            sample[mine] = (sample[mine] - smears[rank].line[::SAMPLE_STEP]) * np.float32(smears[rank].factor)
        if light:
            sample[mine] *= recipe.gain[rank][::SAMPLE_STEP]
    return Prepared(opened, recipe, smears, light, sample)


def each_band(frames: list[Prepared], visit: Callable[[Band, Plane, Plane, Bits], None], threads: Executor) -> None:
    """Call visit(band, values, variances, flags) for every band of the chip: stacks (n, h, nx), in the frames' units.

    band: the first frame's, to say where it lies.
    """

    def one(piece: tuple[int, int]) -> None:
        found = [frame.bands(*piece) for frame in frames]
        for same in zip(*found, strict=True):
            rows = same[0].rows
            units = [frame.unit.over(rows, same[0].data.shape[1]) for frame in frames]
            values = np.stack([band.data / unit for band, unit in zip(same, units, strict=True)])
            variances = np.stack([band.variance / (unit * unit) for band, unit in zip(same, units, strict=True)])
            visit(same[0], values, variances, np.stack([band.bits for band in same]))

    pieces = frames[0].opened.frame.bands
    for _ in threads.map(one, pieces):
        pass


def _charge(frame: RawFrame, recipe: Recipe, first: int, last: int) -> list[Band]:
    geometry = frame.geometry
    adu, flags, _ = frame.read(first, last)
    bands = []
    for rank in geometry.ranks:
        rows = geometry.chip_rows(rank, first, last)
        shape = last - first, geometry.detector.chip_shape[1]
        data, bits = np.zeros(shape, np.float32), np.full(shape, Bit.BAD, np.uint16)
        geometry.put(rank, adu, data)
        geometry.put(rank, flags, bits)
        variance = np.broadcast_to(frame.level_variance(rank), shape).copy()
        band = Band(rank, rows, data, variance, bits)
        for _, stage in CHARGE:
            stage(band, recipe)
        bands.append(band)
    return bands


def _look(frame: RawFrame, recipe: Recipe, sample: Plane, piece: tuple[int, int]) -> dict[Rank, NDArray[np.float64]]:
    """The sums of each rank's columns; fills the sample."""
    sums = {}
    for band in _charge(frame, recipe, *piece):
        sums[band.rank], hidden = np.zeros(band.data.shape[1]), np.zeros(band.data.shape[1])
        add_columns(band.data, band.bits, sums[band.rank], hidden)
        first = -band.rows.start % SAMPLE_STEP
        some = np.where(band.bits == 0, band.data, np.float32(np.nan))[first::SAMPLE_STEP, ::SAMPLE_STEP]
        at = (band.rows.start + first) // SAMPLE_STEP
        sample[at : at + len(some)] = some
    return sums


def _spooled(pixels: Pixels, stack: ExitStack, scratch: Path) -> FilePlane:
    """The unpacked pixels in a file that vanishes with the stack: sixteen frames in memory would be 4 GB."""
    file = stack.enter_context(tempfile.TemporaryFile(dir=scratch))  # noqa: SIM115  (closed by the stack)
    values = pixels.values
    plane = FilePlane(file.fileno(), 0, values.shape, values.dtype)
    plane[: len(values)] = values
    return plane
