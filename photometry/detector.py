"""The detector that a frame comes from: its instrument's file, with what only the frame's header says.

Guarantee: every section of a `Detector` lies in the raw frame and its numbers are known; a frame of another instrument or
size is a `BadFrameError` that names the key.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from photometry import cards
from photometry.errors import BadFrameError
from photometry.instrument import Amplifier, Instrument, chip_shape, size_of
from photometry.strict_yaml import Section


@dataclass(frozen=True)
class Channel:
    """An amplifier with its numbers, as `photometry.instrument.Amplifier`; saturation: None where only frames can tell."""

    name: str
    data: Section
    overscan: Section | None
    chip: Section
    corner: str
    gain: float
    read_noise: float
    saturation: float | None
    linearity: tuple[float, float]

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the data."""
        return size_of(self.data)


@dataclass(frozen=True)
class Detector:
    """shape: raw (rows, columns); chip_shape: trimmed; gain_known: of all amplifiers, else one was taken as 1; the rest as
    in `photometry.instrument.Instrument`.
    """

    instrument: str
    shape: tuple[int, int]
    chip_shape: tuple[int, int]
    amplifiers: tuple[Channel, ...]
    crosstalk: NDArray[np.float64] | None
    row_seconds: float | None
    gain_known: bool


def detector(instrument: Instrument, header: cards.Cards, shape: tuple[int, int], notes: list[str]) -> Detector:
    """The detector of a raw frame of `shape` (rows, columns); what the header lacks is assumed, and added to `notes`.

    BadFrameError: another instrument's frame, or another size.
    """
    _check_identity(instrument, header)
    if instrument.shape is not None and shape != instrument.shape:
        (rows, columns), name = instrument.shape, instrument.name
        raise BadFrameError(
            f"wrong size: the frame has {shape[1]} x {shape[0]} pixels, shape of {name} wants {columns} x {rows}"
        )
    ports = instrument.amplifiers or (_by_sections(header, shape, notes),)
    channels = tuple(_channel(port, header, notes) for port in ports)
    known = all(_gain(port, header) is not None for port in ports)
    chip = chip_shape([port.chip for port in ports])
    return Detector(instrument.name, shape, chip, channels, instrument.crosstalk, instrument.row_seconds, known)


def _check_identity(instrument: Instrument, header: cards.Cards) -> None:
    for card, start in instrument.identity.items():
        found = cards.text(header, card)
        if not found.lower().startswith(start.lower()):
            raise BadFrameError(
                f"wrong instrument: {card} is {found!a}, identity.{card} of {instrument.name} wants {start!a}"
            )


def _by_sections(header: cards.Cards, shape: tuple[int, int], notes: list[str]) -> Amplifier:
    """One amplifier, by TRIMSEC and BIASSEC where both are about this very array."""
    data = cards.section(header, "TRIMSEC", shape)
    overscan = cards.section(header, "BIASSEC", shape)
    whole = (slice(0, shape[0]), slice(0, shape[1]))
    if data is None or (overscan is None and cards.text(header, "BIASSEC")):
        data, overscan = whole, None
    if overscan is None:
        notes.append("no overscan that the header names: the level is the master bias's to know")
    elif overscan[0].start > data[0].start or overscan[0].stop < data[0].stop:
        notes.append("the overscan does not reach along all rows: not used")
        overscan = None
    else:
        overscan = data[0], overscan[1]
    rows, columns = size_of(data)
    return Amplifier("1", data, overscan, (slice(0, rows), slice(0, columns)), "lower-left", None, None, None, (0.0, 0.0))


def _channel(port: Amplifier, header: cards.Cards, notes: list[str]) -> Channel:
    gain = _gain(port, header)
    noise = _said(port.read_noise, header, cards.READ_NOISE_CARDS, (0.0, 1000.0))
    if gain is None:
        notes.append("no gain in the instrument's file or the header: taken as 1 electron per adu")
    if noise is None:
        notes.append("no read noise in the instrument's file or the header: taken as 0")
    saturation = _said(port.saturation, header, cards.SATURATION_CARDS, (1.0, 1e12))
    return Channel(
        port.name, port.data, port.overscan, port.chip, port.corner,
        1.0 if gain is None else gain, noise or 0.0, saturation, port.linearity,
    )  # fmt: skip


def _gain(port: Amplifier, header: cards.Cards) -> float | None:
    return _said(port.gain, header, cards.GAIN_CARDS, (0.01, 1000.0))


def _said(own: float | None, header: cards.Cards, names: tuple[str, ...], limits: tuple[float, float]) -> float | None:
    """The file's number, else the header's."""
    if own is not None:
        return own
    found = cards.number(header, names, *limits)
    return found[1] if found else None
