"""A camera as a simulation needs it: an instrument file whose every number is there.

Guarantee: a `Chip` has amplifiers of one size, each with a gain, a read noise, a saturation and a non-linearity that grows
with the charge; `chip_of` raises BadInputError for an instrument that leaves such a thing to the frames' headers.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.errors import BadInputError
from photometry.instrument import Amplifier, Instrument, chip_shape, size_of
from skysim.optics import FloatArray

Light = NDArray[np.float32]

LARGEST_ADU = 65_535
_NUMBERS = ("gain", "read_noise", "saturation")  # that each amplifier must have
_ABOVE_SATURATION = 1.04  # where a full pixel reads, over what the instrument calls saturated: noise must not hide it


@dataclass(frozen=True)
class Chip:
    """The trimmed `shape` (ny, nx), and what each of the n amplifiers is: arrays (n,)."""

    instrument: Instrument
    ports: tuple[Amplifier, ...]
    shape: tuple[int, int]
    raw_shape: tuple[int, int]
    arcsec_per_pixel: float
    gain: FloatArray  # electrons / adu
    read_noise: FloatArray  # electrons
    saturation: FloatArray  # raw adu
    linearity: FloatArray  # (n, 2)

    @property
    def port_shape(self) -> tuple[int, int]:
        """Rows and columns of one amplifier."""
        return size_of(self.ports[0].data)

    def full_well(self, level_adu: FloatArray) -> FloatArray:
        """(n,) electrons that read a little more than saturation, where the bias is `level_adu` (n,)."""
        adu = np.minimum(self.saturation * _ABOVE_SATURATION, LARGEST_ADU) - level_adu
        first, second = self.linearity.T
        return np.asarray(adu * (1 + first * adu + second * adu**2) * self.gain, np.float64)


def chip_of(instrument: Instrument) -> Chip:
    """The instrument as a chip to simulate.  BadInputError: it does not say enough."""
    ports = instrument.amplifiers
    if ports is None or instrument.shape is None or instrument.scale is None:
        raise BadInputError(f"{instrument.name} cannot be simulated: it leaves amplifiers, shape or scale to the frames")
    for port in ports:
        missing = [name for name in _NUMBERS if getattr(port, name) is None]
        if missing:
            raise BadInputError(f"{instrument.name} cannot be simulated: amplifier {port.name} has no {', '.join(missing)}")
        _require_growth(instrument.name, port)
    if len({size_of(port.data) for port in ports}) != 1:
        raise BadInputError(f"{instrument.name} cannot be simulated: its amplifiers are not of one size")
    return Chip(
        instrument,
        ports,
        chip_shape([port.chip for port in ports]),
        instrument.shape,
        instrument.scale.arcsec_per_pixel,
        *(np.array([getattr(port, name) for port in ports], float) for name in (*_NUMBERS, "linearity")),
    )


def read_order(plane: NDArray[Any], corner: str) -> NDArray[Any]:
    """A view of an amplifier's pixels whose [0, 0] is read first."""
    return plane[:: -1 if corner.startswith("upper") else 1, :: -1 if corner.endswith("right") else 1]


def _require_growth(name: str, port: Amplifier) -> None:
    """BadInputError where more charge would read as less: no simulation can invert that."""
    first, second = port.linearity
    adu = np.linspace(0, LARGEST_ADU, 257)
    if (slope := float((1 + 2 * first * adu + 3 * second * adu**2).min())) <= 0 or not math.isfinite(slope):
        raise BadInputError(f"{name} cannot be simulated: amplifier {port.name}'s linearity folds over below 65535 adu")
