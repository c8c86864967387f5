"""The arrays that every stage takes and returns."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Image:
    """A frame's planes on one pixel grid, with what the noise needs.

    data      (ny, nx) float32, in `unit`
    variance  (ny, nx) float32, unit^2, the total variance of each pixel; finite and > 0 wherever mask is 0
    mask      (ny, nx) uint16, the bits of `photometry.mask.Bit`
    gain      electrons per `unit`;  read_noise  electrons;  saturation  in `unit`
    """

    data: NDArray[np.float32]
    variance: NDArray[np.float32]
    mask: NDArray[np.uint16]
    unit: str
    gain: float
    read_noise: float
    saturation: float

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)"""
        return self.data.shape[0], self.data.shape[1]
