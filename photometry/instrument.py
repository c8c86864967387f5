"""An instrument as data: what of a camera the suite has to know, from one YAML file.

Guarantee: an `Instrument` that `load_instrument` returns fits together: all amplifiers' data and their places on the chip
have one size, the places cover the trimmed chip without gap or overlap, no section leaves the raw frame, the overscan lies
in the data's rows, crosstalk is a square of the amplifiers.  Otherwise `BadInputError` of one line that names the key.

The raw frame is as the camera writes it; the chip is the trimmed image, overscan removed, amplifiers side by side.
`corner` names where an amplifier is read: lower or upper is the way that rows shift (parallel), left or right the way that
pixels shift within a row (serial); names as on a display whose first pixel is at the lower left.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from photometry.errors import BadInputError
from photometry.strict_yaml import Entry, Section, read_entries
from photometry.times import INSTANTS, ZONE, TimeRule

CORNERS = ("lower-left", "lower-right", "upper-left", "upper-right")
UNITS = ("hours", "degrees")
QUIRKS = ("strings", "tan_is_tpv")

_MOST_SIDE = 100_000
_MOST_AMPLIFIERS = 64


@dataclass(frozen=True)
class Amplifier:
    """One amplifier as the file says it; None: the header's, or else what the frame shows.

    data, overscan: sections of the raw frame; chip: the data's place on the trimmed chip, of the same size
    gain: electrons per adu; read_noise: electrons; saturation: raw adu, level included
    linearity: c1, c2: true = adu (1 + c1 adu + c2 adu^2), adu above the overscan's level
    """

    name: str
    data: Section
    overscan: Section | None
    chip: Section
    corner: str
    gain: float | None
    read_noise: float | None
    saturation: float | None
    linearity: tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """arcsec_per_pixel, and the fraction by which a solution may differ from it."""

    arcsec_per_pixel: float
    tolerance: float


@dataclass(frozen=True)
class Pointing:
    """Cards, the first that is there counts; unit: of plain numbers in `ra` (a sexagesimal text is always hours)."""

    ra: tuple[str, ...]
    dec: tuple[str, ...]
    unit: str


@dataclass(frozen=True)
class Filters:
    """Cards, the first that is there counts; bands: the frame's filter -> the catalog's band."""

    cards: tuple[str, ...]
    bands: Mapping[str, str]


@dataclass(frozen=True)
class Instrument:
    """identity: card -> how its text begins, whatever the case

    shape: raw (rows, columns), None: any
    amplifiers: None: one, by the header's TRIMSEC and BIASSEC
    crosstalk: (n, n) float64 [victim, aggressor], None: none
    row_seconds: of the frame transfer, per row; None: a shutter
    time: None: by the usual cards (`photometry.times.exposure_of`)
    """

    name: str
    description: str
    identity: Mapping[str, str]
    shape: tuple[int, int] | None
    scale: Scale | None
    amplifiers: tuple[Amplifier, ...] | None
    crosstalk: NDArray[np.float64] | None
    row_seconds: float | None
    time: TimeRule | None
    pointing: Pointing | None
    filters: Filters | None
    wcs_quirks: tuple[str, ...]

    @property
    def chip_shape(self) -> tuple[int, int] | None:
        """Rows and columns of the trimmed chip; None: the header says."""
        return None if self.amplifiers is None else chip_shape([port.chip for port in self.amplifiers])


def load_instrument(name: str | Path) -> Instrument:
    """By a file, or by a name in conf/instruments, of the checkout or installed.

    BadInputError: no such instrument, or a file that is not one, naming the key.
    """
    root = read_entries(_find(name))
    (
        short, description, identity, shape, scale, amplifiers, crosstalk, transfer, time, pointing, filters, quirks,
    ) = root.keys(
        "name", "description", "identity", "shape", "scale", "amplifiers", "crosstalk", "frame_transfer", "time", "pointing",
        "filters", "wcs_quirks",
    )  # fmt: skip
    raw = shape.maybe(_shape)
    ports = amplifiers.maybe(lambda entry: tuple(_amplifier(item) for item in entry.items(1, _MOST_AMPLIFIERS)))
    if ports is not None:
        _check_layout(amplifiers, ports, raw)
    return Instrument(
        name=short.text(),
        description=description.text(),
        identity={card: entry.text() for card, entry in identity.pairs().items()},
        shape=raw,
        scale=scale.maybe(_scale),
        amplifiers=ports,
        crosstalk=crosstalk.maybe(lambda entry: _crosstalk(entry, ports)),
        row_seconds=transfer.maybe(lambda entry: entry.keys("row_seconds")[0].number(1e-9, 1.0)),
        time=time.maybe(_time_rule),
        pointing=pointing.maybe(_pointing),
        filters=filters.maybe(_filters),
        wcs_quirks=tuple(item.one_of(QUIRKS) for item in quirks.items(0, len(QUIRKS))),
    )


def size_of(section: Section) -> tuple[int, int]:
    """(rows, columns)."""
    rows, columns = section
    return rows.stop - rows.start, columns.stop - columns.start


def chip_shape(places: list[Section]) -> tuple[int, int]:
    """(rows, columns) of the chip that the places cover."""
    return max(rows.stop for rows, _ in places), max(columns.stop for _, columns in places)


def _find(name: str | Path) -> Path:
    words = str(name)
    if isinstance(name, Path) or "/" in words or words.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise BadInputError(f"{words}: no such instrument file")
        return Path(name)
    places = [
        Path(__file__).parent.parent / "conf" / "instruments",
        Path(sys.prefix) / "share" / "ast3" / "conf" / "instruments",
    ]
    folder = next((place for place in places if place.is_dir()), places[0])
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if words not in known:
        raise BadInputError(f"{words!a}: no such instrument; known are {', '.join(known)}, or name a .yaml file")
    return folder / f"{words}.yaml"


def _shape(entry: Entry) -> tuple[int, int]:
    rows, columns = entry.items(2, 2)
    return rows.whole(1, _MOST_SIDE), columns.whole(1, _MOST_SIDE)


def _scale(entry: Entry) -> Scale:
    pixel, tolerance = entry.keys("arcsec_per_pixel", "tolerance")
    return Scale(pixel.number(1e-3, 1e3), tolerance.number(0.0, 0.5))


def _amplifier(entry: Entry) -> Amplifier:
    name, data, overscan, chip, corner, gain, noise, saturation, linearity = entry.keys(
        "name", "data", "overscan", "chip", "corner", "gain", "read_noise", "saturation", "linearity"
    )
    first, second = linearity.items(2, 2)
    found = Amplifier(
        name=name.text(),
        data=data.section(),
        overscan=overscan.maybe(Entry.section),
        chip=chip.section(),
        corner=corner.one_of(CORNERS),
        gain=gain.maybe(lambda e: e.number(1e-4, 1e4)),
        read_noise=noise.maybe(lambda e: e.number(0.0, 1e4)),
        saturation=saturation.maybe(lambda e: e.number(1.0, 1e12)),
        linearity=(first.number(-1e-3, 1e-3), second.number(-1e-6, 1e-6)),
    )
    if size_of(found.chip) != size_of(found.data):
        chip.refuse(f"a section of the data's size, {size_of(found.data)[1]} x {size_of(found.data)[0]}")
    if found.overscan is not None and found.overscan[0] != found.data[0]:
        overscan.refuse(f"a section in the data's rows, {found.data[0].start + 1}:{found.data[0].stop}")
    return found


def _check_layout(entry: Entry, ports: tuple[Amplifier, ...], shape: tuple[int, int] | None) -> None:
    """BadInputError unless the amplifiers fit into the raw frame and cover the chip once."""
    for item, port in zip(entry.items(1, _MOST_AMPLIFIERS), ports, strict=True):
        if shape is None:
            raise BadInputError(f"{entry.file}: shape: found null; allowed is [rows, columns] where amplifiers are named")
        for name, section in (("data", port.data), ("overscan", port.overscan)):
            if section is not None and (section[0].stop > shape[0] or section[1].stop > shape[1]):
                raise BadInputError(
                    f"{item.file}: {item.key}.{name}: leaves the raw frame, which has {shape[1]} x {shape[0]} pixels"
                )
    if len({size_of(port.data) for port in ports}) != 1:
        raise BadInputError(
            f"{entry.file}: {entry.key}: the data sections differ in size; all amplifiers read as many pixels"
        )
    names = [port.name for port in ports]
    if len(set(names)) != len(names):
        raise BadInputError(f"{entry.file}: {entry.key}: a name stands twice; each amplifier has its own")
    ny, nx = chip_shape([port.chip for port in ports])
    if sum(rows * columns for rows, columns in (size_of(port.chip) for port in ports)) != ny * nx or _overlap(ports):
        raise BadInputError(
            f"{entry.file}: {entry.key}: the chip sections do not cover {nx} x {ny} pixels once; "
            "mend the sections that overlap or leave a gap"
        )


def _overlap(ports: tuple[Amplifier, ...]) -> bool:
    return any(
        a.chip[0].start < b.chip[0].stop and b.chip[0].start < a.chip[0].stop
        and a.chip[1].start < b.chip[1].stop and b.chip[1].start < a.chip[1].stop
        for i, a in enumerate(ports) for b in ports[:i]
    )  # fmt: skip


def _crosstalk(entry: Entry, ports: tuple[Amplifier, ...] | None) -> NDArray[np.float64]:
    """The matrix, its diagonal 0."""
    if ports is None:
        entry.refuse("null, where the amplifiers are not named")
    n = len(ports)
    rows = [[item.number(-0.1, 0.1) for item in row.items(n, n)] for row in entry.items(n, n)]
    matrix = np.array(rows, float)
    if np.diagonal(matrix).any():
        raise BadInputError(f"{entry.file}: {entry.key}: an amplifier does not talk to itself; allowed is 0 on the diagonal")
    return matrix


def _time_rule(entry: Entry) -> TimeRule:
    cards, zone, at, exposure = entry.keys("cards", "zone", "at", "exposure")
    if not isinstance(zone.value, str) or not ZONE.fullmatch(zone.value):
        zone.refuse("UTC, card, or an offset such as '-07:00' in quotes")
    return TimeRule(
        tuple(item.text() for item in cards.items(1, 2)),
        zone.value,
        at.one_of(INSTANTS),
        tuple(item.text() for item in exposure.items(0, 4)),
    )


def _pointing(entry: Entry) -> Pointing:
    ra, dec, unit = entry.keys("ra", "dec", "unit")
    return Pointing(_names(ra), _names(dec), unit.one_of(UNITS))


def _filters(entry: Entry) -> Filters:
    cards, bands = entry.keys("cards", "bands")
    return Filters(_names(cards), {name: band.text() for name, band in bands.pairs().items()})


def _names(entry: Entry) -> tuple[str, ...]:
    return tuple(item.text() for item in entry.items(1, 8))
