"""Which pixels are read at the same time: a frame's amplifiers, each from its corner on, and their place on the chip."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.detector import Channel, Detector

Plane = NDArray[np.float32]
Bits = NDArray[np.uint16]


@dataclass(frozen=True)
class Rank:
    """Amplifiers beside each other: their data lie in the same rows of the raw frame and of the chip, read the same way.

    raw, chip: the first row; upper: read upwards, the last row first; members: indices of the detector's amplifiers.
    """

    raw: int
    chip: int
    upper: bool
    members: tuple[int, ...]


@dataclass(frozen=True)
class Geometry:
    """A detector's amplifiers in ranks.  n amplifiers of (rows, columns) pixels."""

    detector: Detector

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The amplifiers, in the detector's order, which is the order of every stack."""
        return self.detector.amplifiers

    @property
    def rows(self) -> int:
        """Of each amplifier."""
        return self.channels[0].shape[0]

    @property
    def columns(self) -> int:
        """Of each amplifier."""
        return self.channels[0].shape[1]

    @cached_property
    def ranks(self) -> tuple[Rank, ...]:
        """Each amplifier is in one of them."""
        found: dict[tuple[int, int, bool], list[int]] = {}
        for i, channel in enumerate(self.channels):
            key = channel.data[0].start, channel.chip[0].start, channel.corner.startswith("upper")
            found.setdefault(key, []).append(i)
        return tuple(Rank(*key, tuple(members)) for key, members in found.items())

    def raw_rows(self, rank: Rank, first: int, last: int) -> slice:
        """The raw frame's rows that are first ... last - 1 rows from where the rank is read."""
        return self._rows(rank, rank.raw, first, last)

    def chip_rows(self, rank: Rank, first: int, last: int) -> slice:
        """The same of the chip."""
        return self._rows(rank, rank.chip, first, last)

    def _rows(self, rank: Rank, start: int, first: int, last: int) -> slice:
        if rank.upper:
            return slice(start + self.rows - last, start + self.rows - first)
        return slice(start + first, start + last)

    def take(self, rank: Rank, rows: Plane, stack: Plane) -> None:
        """Put the rank's amplifiers into the stack (n, h, w) from whole raw rows (h, raw columns)."""
        for i in rank.members:
            part = rows[:, self.channels[i].data[1]]
            stack[i] = part[self._step(rank), self._across(i)]

    def put(self, rank: Rank, stack: NDArray[Any], rows: NDArray[Any]) -> None:
        """Put the rank's amplifiers from the stack into whole rows of the chip (h, chip columns)."""
        for i in rank.members:
            rows[:, self.channels[i].chip[1]] = stack[i][self._step(rank), self._across(i)]

    def spread(self, values: NDArray[np.float32], rank: Rank) -> NDArray[np.float32]:
        """(chip columns,): each amplifier's value in its columns of the rank's rows."""
        out = np.ones(self.detector.chip_shape[1], np.float32)
        for i in rank.members:
            out[self.channels[i].chip[1]] = values[i]
        return out

    def _step(self, rank: Rank) -> slice:
        return slice(None, None, -1 if rank.upper else 1)

    def _across(self, i: int) -> slice:
        return slice(None, None, -1 if self.channels[i].corner.endswith("right") else 1)
