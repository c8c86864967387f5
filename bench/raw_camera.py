"""A simulated camera with amplifiers, for the figures and the tests of calibration: raw frames whose truth is known.

The forward model, plain: light falls on the flat, dark charge joins it, rows smear, photons are counted, each amplifier adds
its bias, crosstalk mixes them, the converter bends, the level and the read noise are added, all is rounded and clipped.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from photometry.calibration.geometry import Geometry
from photometry.detector import Detector, detector
from photometry.instrument import Amplifier, Instrument, load_instrument

Plane = NDArray[np.float32]

CEILING = 65535
HEADER = {"INSTRUME": "AST3", "DATE-OBS": "2026-06-21T12:00:00", "FILTER": "i"}


@dataclass(frozen=True)
class Camera:
    """bias: adu, dark: electrons/s, flat: planes of the chip; levels: adu, for each amplifier."""

    instrument: Instrument
    chip: Detector
    bias: Plane
    dark: Plane
    flat: Plane
    levels: NDArray[np.float64]


def ast3_like(side: int, **changes: Any) -> Instrument:
    """AST3 with a chip of side x side pixels (a multiple of 16), its 16 amplifiers and their overscan; or with changes."""
    ast3 = load_instrument("ast3")
    assert ast3.amplifiers is not None
    w, h = side // 8, side // 2
    ports: list[Amplifier] = []
    for i, port in enumerate(ast3.amplifiers):
        k, rows = i % 8, slice(0, h) if i < 8 else slice(h, 2 * h)
        x = k * (w + 20)
        mine = {
            "data": (rows, slice(x, x + w)),
            "overscan": (rows, slice(x + w, x + w + 20)),
            "chip": (rows, slice(k * w, (k + 1) * w)),
        }
        ports.append(replace(port, **mine))
    return replace(ast3, shape=(side, side + 160), amplifiers=tuple(ports), **changes)


def make_camera(instrument: Instrument, seed: int) -> Camera:
    """With a bias structure of 3 adu, a dark of .4 electrons/s, a flat of 1 % from pixel to pixel in a vignette of 10 %."""
    rng = np.random.default_rng(seed)
    assert instrument.shape is not None
    chip = detector(instrument, HEADER, instrument.shape, [])
    ny, nx = chip.chip_shape
    y, x = np.ogrid[-1 : 1 : ny * 1j, -1 : 1 : nx * 1j]
    bias = 3 * rng.standard_normal((ny, nx), np.float32)
    dark = np.abs(0.4 + 0.05 * rng.standard_normal((ny, nx), np.float32))
    flat = (1 + 0.01 * rng.standard_normal((ny, nx), np.float32)) * (1 - 0.05 * (x**2 + y**2)).astype(np.float32)
    return Camera(instrument, chip, bias, dark, flat, 1500 + rng.uniform(-100, 100, len(chip.amplifiers)))


def expose(camera: Camera, light: Plane | float, seconds: float, seed: int) -> NDArray[np.uint16]:
    """The raw frame of electrons that fall on each pixel, before the flat."""
    rng = np.random.default_rng(seed)
    geometry = Geometry(camera.chip)
    charge = np.empty(camera.chip.chip_shape, np.float32)
    charge[:] = light * camera.flat
    if camera.chip.row_seconds is not None and seconds > 0:
        share = camera.chip.row_seconds / seconds
        for rank in geometry.ranks:
            rows = geometry.chip_rows(rank, 0, geometry.rows)
            charge[rows] = (1 - share) * charge[rows] + share * charge[rows].sum(axis=0, dtype=float)
    charge += camera.dark * np.float32(seconds)
    stack = np.empty((len(geometry.channels), geometry.rows, geometry.columns), np.float32)
    for i, channel in enumerate(geometry.channels):
        part = _counted(charge[channel.chip], rng) / np.float32(channel.gain) + camera.bias[channel.chip]
        stack[i] = part[_turn(channel.corner)]
    if camera.chip.crosstalk is not None:
        stack += np.tensordot(camera.chip.crosstalk, stack, axes=1).astype(np.float32)
    raw = np.empty(camera.chip.shape, np.uint16)
    for i, channel in enumerate(geometry.channels):
        raw[channel.data] = _converted(_bent(stack[i], channel.linearity)[_turn(channel.corner)], camera, i, rng)
        if channel.overscan is not None:
            rows, columns = channel.overscan
            raw[channel.overscan] = _converted(
                np.zeros((rows.stop - rows.start, columns.stop - columns.start)), camera, i, rng
            )
    return raw


def write(path: Path, raw: NDArray[np.uint16], kind: str, seconds: float, **cards: Any) -> Path:
    """As the camera does."""
    fits.PrimaryHDU(raw, fits.Header({**HEADER, "IMAGETYP": kind, "EXPTIME": seconds, **cards})).writeto(path)
    return path


def _counted(charge: Plane, rng: np.random.Generator) -> Plane:
    """Photons counted; where there are many, a normal distribution is as good and ten times faster."""
    if charge.mean() > 200:
        return charge + np.sqrt(np.maximum(charge, 0)) * rng.standard_normal(charge.shape, np.float32)
    return rng.poisson(np.maximum(charge, 0)).astype(np.float32)


def _bent(adu: Plane, terms: tuple[float, float]) -> Plane:
    """What the converter makes of true adu: read (1 + c1 read + c2 read^2) = true."""
    read = adu.copy()
    for _ in range(20 if any(terms) else 0):
        read = adu / (1 + read * (terms[0] + terms[1] * read))
    return read


def _converted(adu: NDArray[Any], camera: Camera, i: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    channel = camera.chip.amplifiers[i]
    noise = rng.standard_normal(adu.shape, np.float32) * np.float32(channel.read_noise / channel.gain)
    return np.clip(np.rint(adu + noise + camera.levels[i]), 0, CEILING).astype(np.uint16)


def _turn(corner: str) -> tuple[slice, slice]:
    vertical, horizontal = corner.split("-")
    return slice(None, None, -1 if vertical == "upper" else 1), slice(None, None, -1 if horizontal == "right" else 1)
