"""Where a difference is written."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = Any  # numpy cannot say "indexed by rows and columns": an array, or a photometry.file_plane.FilePlane


EVERYTHING = slice(None)


@dataclass(frozen=True)
class Planes:
    """Where a difference is written, whole rows at a time, and read again: (ny, nx), arrays or planes of a file.

    variance, score: None where they are not wanted.  mask: bits below 2^15, of any type of 16 bits.
    """

    data: Rows
    variance: Rows | None
    mask: Rows
    score: Rows | None

    @classmethod
    def in_memory(cls, shape: tuple[int, int]) -> "Planes":
        """New arrays: float32, the mask uint16."""
        data, variance, score = (np.empty(shape, np.float32) for _ in range(3))
        return cls(data, variance, np.empty(shape, np.uint16), score)

    def bits(self, rows: slice, columns: slice = EVERYTHING) -> NDArray[np.uint16]:
        """Flags of a rectangle; not to be written to."""
        return np.asarray(self.mask[rows, columns]).astype(np.uint16, copy=False)

    def pixels(self, rows: slice, columns: slice = EVERYTHING) -> NDArray[np.float32]:
        """The difference in a rectangle; not to be written to."""
        return np.asarray(self.data[rows, columns]).astype(np.float32, copy=False)
