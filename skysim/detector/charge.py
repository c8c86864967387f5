"""Charge from light to the end of the exposure: frame-transfer smear, photon noise, dark current, cosmic rays, bleeding.

Without a shutter each row of an amplifier passes under all other rows of its column, for a time t_row under each:

    O_i = I_i + e * sum over j != i of I_j,        e = t_row / exposure.

All functions change `electrons` (ny, nx) float32 in place.
"""

import numpy as np

from skysim import camera
from skysim.detector.chip import Chip, Light
from skysim.detector.pattern import dark_band
from skysim.optics import FloatArray
from skysim.seeds import Purpose, bands, stream

COSMIC_RAYS_PER_MEGAPIXEL_SECOND = 0.05


def smear(electrons: Light, chip: Chip, seconds: float) -> None:
    """The module's equation, in every amplifier; nothing where the instrument has a shutter or nothing was exposed."""
    if chip.instrument.row_seconds is None or seconds <= 0:
        return
    share = chip.instrument.row_seconds / seconds
    for port in chip.ports:
        part = electrons[port.chip]
        columns = part.sum(axis=0, dtype=np.float64)
        part *= np.float32(1 - share)
        part += (share * columns).astype(np.float32)


def collect(electrons: Light, seconds: float, camera_seed: int, seed: int, key: tuple[int, ...]) -> None:
    """From expected photoelectrons to a count of them, with the dark current of `seconds`: Poisson in each pixel."""
    for i, rows in bands(electrons.shape[0]):
        expected = electrons[rows]
        if seconds > 0:
            expected += np.float32(seconds) * dark_band(electrons.shape, camera_seed, i, rows)
        electrons[rows] = stream(seed, Purpose.PHOTONS, *key, i).poisson(expected)


def add_cosmic_rays(electrons: Light, seconds: float, seed: int, key: tuple[int, ...]) -> int:
    """Tracks at the rate of the site, and their number."""
    rng = stream(seed, Purpose.COSMIC_RAYS, *key)
    count = int(rng.poisson(COSMIC_RAYS_PER_MEGAPIXEL_SECOND * seconds * electrons.size / 1e6))
    camera.add_cosmic_rays(electrons, count, rng)
    return count


def bleed(electrons: Light, chip: Chip, full_well: FloatArray) -> None:
    """Charge above the full well (n,) of its amplifier runs along the column, within the amplifier."""
    for port, most in zip(chip.ports, full_well, strict=True):
        camera.bleed(electrons[port.chip], float(most))
