"""A frame's pixels where they lie, in an array or in a file's own bytes, and what is known of them beforehand."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]
Bits = NDArray[np.uint8]
Known = Callable[[slice, slice], Bits]


@dataclass(frozen=True)
class Raw:
    """pixels (ny, nx) of any real type and byte order: `scale` times them plus `zero` are the frame's counts, sky included.

    known       flags (photometry.mask.Bit) of a rectangle [rows, columns] that the pixels themselves do not show; None: none
    variance    (ny, nx) total, unit^2, <= 0 or NaN where a pixel is bad; None: what gain and read noise say
    gain        electrons per unit;  read_noise  electrons;  saturation  in the unit, sky included
    """

    pixels: NDArray[Any]
    gain: float
    read_noise: float
    saturation: float
    unit: str = "adu"
    scale: float = 1.0
    zero: float = 0.0
    known: Known | None = None
    variance: NDArray[Any] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)"""
        return self.pixels.shape[0], self.pixels.shape[1]

    def counts(self, rows: slice, columns: slice) -> tuple[Plane, Bits]:
        """New arrays: the counts of a rectangle, float32, and what is known of them."""
        data = self.pixels[rows, columns].astype(np.float32)
        if self.scale != 1 or self.zero != 0:
            data *= np.float32(self.scale)
            data += np.float32(self.zero)
        bits = np.zeros(data.shape, np.uint8) if self.known is None else self.known(rows, columns)
        return data, bits
