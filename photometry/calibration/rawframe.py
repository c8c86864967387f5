"""A raw frame where it lies, read as its amplifiers read it: charge above the overscan, in adu.

Saturation is flagged on the raw values; then the overscan's level, the non-linearity and the crosstalk are taken away.
"""

from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry import defects
from photometry.calibration.geometry import Geometry, Rank
from photometry.calibration.overscan import Level, measure_level
from photometry.fits_map import Pixels
from photometry.loops.readout import flag_saturated, linearise, read_words, remove_crosstalk, subtract_levels

Plane = NDArray[np.float32]
Bits = NDArray[np.uint16]

BAND_PIXELS = 1 << 18  # of a stack: its planes stay in a core's cache
_WORD = np.dtype(">i2")


@dataclass(frozen=True)
class RawFrame:
    """levels: one for each amplifier, None where it has no overscan; saturation: raw adu, for each amplifier."""

    pixels: Pixels
    geometry: Geometry
    levels: tuple[Level | None, ...]
    saturation: NDArray[np.float32]

    @property
    def bands(self) -> list[tuple[int, int]]:
        """The frame in pieces: first and last row (exclusive) from where the amplifiers are read."""
        rows, pixels = self.geometry.rows, len(self.levels) * self.geometry.columns
        step = max(BAND_PIXELS // pixels, 1)
        return [(first, min(first + step, rows)) for first in range(0, rows, step)]

    def read(self, first: int, last: int) -> tuple[Plane, Bits, float]:
        """What the amplifiers read at rows first ... last - 1: charge in adu (n, h, w), flags, the largest crosstalk."""
        geometry = self.geometry
        shape = len(self.levels), last - first, geometry.columns
        adu, bits = np.empty(shape, np.float32), np.empty(shape, np.uint16)
        for rank in geometry.ranks:
            geometry.take(rank, counts(self.pixels, geometry.raw_rows(rank, first, last)), adu)
        flag_saturated(adu, self.saturation, bits)
        levels = [np.zeros(last - first) if level is None else level.rows[first:last] for level in self.levels]
        subtract_levels(adu, np.array(levels, np.float32))
        linearise(adu, np.array([channel.linearity for channel in geometry.channels], np.float32))
        matrix = geometry.detector.crosstalk
        if matrix is None:
            return adu, bits, 0.0
        out = np.empty_like(adu)
        largest = remove_crosstalk(adu, matrix.astype(np.float32), out)
        return out, bits, largest

    def level_variance(self, rank: Rank) -> NDArray[np.float32]:
        """(chip columns,), adu^2: of the levels that were subtracted."""
        values = np.array([0.0 if level is None else level.variance for level in self.levels], np.float32)
        return self.geometry.spread(values, rank)


def open_raw(pixels: Pixels, geometry: Geometry, threads: Executor, notes: list[str]) -> RawFrame:
    """Look at the overscan, and for the saturation where nobody says it."""
    levels = tuple(threads.map(lambda i: _level(pixels, geometry, i), range(len(geometry.channels))))
    saturation = [channel.saturation for channel in geometry.channels]
    for i, channel in enumerate(geometry.channels):
        if channel.saturation is None:
            saturation[i] = _find_saturation(pixels, geometry, i, notes)
    return RawFrame(pixels, geometry, levels, np.array(saturation, np.float32))


def counts(pixels: Pixels, rows: slice, columns: slice = slice(None)) -> Plane:
    """Raw adu of a rectangle, new, NaN where a pixel is blank."""
    values: NDArray[Any] = pixels.values[rows, columns]
    if values.dtype == _WORD and pixels.blank is None:
        out = np.empty(values.shape, np.float32)
        read_words(np.ascontiguousarray(values).view(np.uint16), pixels.scale, pixels.zero, out)
        return out
    data = values.astype(np.float32)
    if pixels.scale != 1 or pixels.zero != 0:
        data *= np.float32(pixels.scale)
        data += np.float32(pixels.zero)
    if pixels.blank is not None:
        data[values == pixels.blank] = np.nan
    return data


def _level(pixels: Pixels, geometry: Geometry, i: int) -> Level | None:
    channel = geometry.channels[i]
    if channel.overscan is None:
        return None
    strip = np.nan_to_num(counts(pixels, *channel.overscan))
    if channel.corner.startswith("upper"):
        strip = strip[::-1]
    if channel.overscan[1].start < channel.data[1].start:
        strip = strip[:, ::-1]
    return measure_level(strip)


def _find_saturation(pixels: Pixels, geometry: Geometry, i: int, notes: list[str]) -> float:
    channel = geometry.channels[i]
    data = counts(pixels, *channel.data)
    whole = bool(np.issubdtype(pixels.values.dtype, np.integer))
    usable = np.isfinite(data)
    level = defects.find_saturation(data, usable, whole_numbers=whole) if usable.any() else np.inf
    seen = f"taken as {level:,.0f} adu from the frame" if np.isfinite(level) else "and none to be seen on the frame"
    notes.append(f"no saturation level of amplifier {channel.name}: {seen}")
    return float(level)
