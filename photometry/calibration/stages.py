"""What calibration does to charge, stage by stage: data, variance and mask of a band of whole chip rows, changed in place.

    CHARGE      bias, noise, dark        adu, before the column sums that the smear needs
    LIGHT       smear, gain, flat        from adu to electrons

The variance begins as that of the overscan's level.  `noise` adds what the charge that was really in a pixel, sky, dark and
smear included, and its reading contribute, so it stands before any of that is taken away.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.calibration.geometry import Geometry, Rank
from photometry.calibration.masters import Master
from photometry.loops.readout import add_noise, apply_gain, divide_flat, remove_smear, subtract_master

Plane = NDArray[np.float32]
Bits = NDArray[np.uint16]
Line = NDArray[np.float32]


@dataclass(frozen=True)
class Recipe:
    """What a frame is calibrated with; None: not done.  mask: of the masters; seconds: of the exposure.

    gain, read_noise: (chip columns,) electrons per adu and electrons, for each rank.
    """

    bias: Master | None
    dark: Master | None
    flat: Master | None
    mask: Any
    seconds: float | None
    gain: dict[Rank, Line]
    read_noise: dict[Rank, Line]


@dataclass(frozen=True)
class Band:
    """Whole rows (h, nx) of one rank on the chip."""

    rank: Rank
    rows: slice
    data: Plane
    variance: Plane
    bits: Bits


@dataclass(frozen=True)
class Smear:
    """What passed under all rows of each column: line, adu, is taken away, then the rest multiplied by the factor."""

    line: Line
    factor: float


def recipe_of(
    geometry: Geometry, bias: Master | None, dark: Master | None, flat: Master | None, mask: Any, seconds: float | None
) -> Recipe:
    """With the amplifiers' gains and read noises spread over the columns."""
    gains = np.array([channel.gain for channel in geometry.channels], np.float32)
    noises = np.array([channel.read_noise for channel in geometry.channels], np.float32)
    ranks = geometry.ranks
    return Recipe(
        bias, dark, flat, mask, seconds,
        {rank: geometry.spread(gains, rank) for rank in ranks}, {rank: geometry.spread(noises, rank) for rank in ranks},
    )  # fmt: skip


def smear_of(sums: NDArray[np.float64], rows: int, share: float) -> Smear:
    """From the sums of each column's charge as it was read, over `rows` rows.

    O_i = I_i + e sum over j != i of I_j, e = `share`: the time a row takes to pass over the exposure's.  So sum O =
    (1 + e (rows - 1)) sum I, and I_i = (O_i - e sum I) / (1 - e): exact, for the mixing is of rank one.
    """
    total = sums / (1 + share * (rows - 1))
    return Smear((share * total).astype(np.float32), 1 / (1 - share))


def _bias(band: Band, recipe: Recipe) -> None:
    if recipe.bias is not None:
        subtract_master(band.data, band.variance, *recipe.bias.read(band.rows), 1.0)


def _noise(band: Band, recipe: Recipe) -> None:
    add_noise(band.data, band.variance, recipe.gain[band.rank], recipe.read_noise[band.rank])


def _dark(band: Band, recipe: Recipe) -> None:
    if recipe.dark is not None and recipe.seconds is not None:
        subtract_master(band.data, band.variance, *recipe.dark.read(band.rows), recipe.seconds)


def _smear(band: Band, _: Recipe, smear: Smear | None) -> None:
    if smear is not None:
        remove_smear(band.data, smear.line, smear.factor)


def _gain(band: Band, recipe: Recipe, _: Smear | None) -> None:
    apply_gain(band.data, band.variance, recipe.gain[band.rank])


def _flat(band: Band, recipe: Recipe, _: Smear | None) -> None:
    if recipe.flat is not None:
        divide_flat(band.data, band.variance, *recipe.flat.read(band.rows), band.bits)


CHARGE: tuple[tuple[str, Callable[[Band, Recipe], None]], ...] = (("bias", _bias), ("noise", _noise), ("dark", _dark))
LIGHT: tuple[tuple[str, Callable[[Band, Recipe, Smear | None], None]], ...] = (
    ("smear", _smear),
    ("gain", _gain),
    ("flat", _flat),
)
