"""What a header says, in numbers: noise, saturation, sections, unit.

Headers lie and lack; nothing here raises for what stands in one.  What a card does not say, or says in a way
that cannot be meant, is None.
"""

import re
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # who only wants a number need not load astropy
    from astropy.io.fits import Header

# EGAIN is electrons per unit by convention; GAIN is often an amplifier's setting, so it comes second.
GAIN_CARDS = ("EGAIN", "GAIN", "CCDGAIN", "AGAIN_01", "GAIN1", "HIERARCH ESO DET OUT1 CONAD")
READ_NOISE_CARDS = ("RDNOISE", "READNOIS", "READNOISE", "RON", "ARDNS_01", "RDNOISE1", "HIERARCH ESO DET OUT1 RON")
SATURATION_CARDS = ("SATURATE", "SATLEVEL", "SATURATION")
KIND_CARDS = ("IMAGETYP", "OBSTYPE", "FRAME")
_KINDS = {
    "bias": ("bias", "zero"),
    "dark": ("dark",),
    "flat": ("flat",),
    "science": ("object", "light", "science", "expose"),
}

_SECTION = re.compile(r"^\s*\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]\s*$")
# What a product on the frame's grid takes over: when, of what and by whom it was exposed, and where it lies on the sky.
PROVENANCE_CARDS = (
    "TELESCOP", "INSTRUME", "OBSERVAT", "OBSERVER", "OBJECT", "FILTER",
    "DATE-OBS", "MJD-OBS", "TIMESYS", "EXPTIME", "AIRMASS",
    "DATE-BEG", "DATE-AVG", "DATE-END", "MJD-AVG", "OBSGEO-X", "OBSGEO-Y", "OBSGEO-Z",
)  # fmt: skip
_WCS_CARD = re.compile(
    r"WCSAXES|CTYPE[12]|CUNIT[12]|CRVAL[12]|CRPIX[12]|CDELT[12]|CROTA[12]|(CD|PC)[12]_[12]|PV[12]_\d+|LONPOLE|LATPOLE"
    r"|RADESYS|RADECSYS|EQUINOX|(A|B|AP|BP)_(ORDER|DMAX|\d_\d)"
)
_LONGEST_TEXT = 68  # of a card without a continuation
_UNITS = {"": "adu", "adu": "adu", "adus": "adu", "dn": "adu", "count": "adu", "counts": "adu", "ct": "adu"}
_UNITS |= {"electron": "electron", "electrons": "electron", "e": "electron", "e-": "electron", "photon": "electron"}


class Cards(Protocol):
    """A header, or as much of one as a mapping holds."""

    def get(self, name: str, /) -> Any:
        """The card's value, None where it is absent."""


def number(header: Cards, names: tuple[str, ...], low: float, high: float) -> tuple[str, float] | None:
    """The first of the cards that holds a number within low..high, and its value."""
    for name in names:
        value = _value(header, name)
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                continue
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return name.removeprefix("HIERARCH "), float(value)
    return None


def text(header: Cards, name: str) -> str:
    """The card's text, '' where it is absent, unreadable or not text."""
    value = _value(header, name)
    return value.strip() if isinstance(value, str) else ""


def whole(header: Cards, name: str) -> int | None:
    """The card's whole number; None where there is none."""
    value = _value(header, name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def frame_kind(header: Cards) -> str:
    """What a frame is for: bias, dark, flat or science; '' where the header does not say."""
    for name in KIND_CARDS:
        said = text(header, name).lower()
        for kind, words in _KINDS.items():
            if any(word in said for word in words):
                return kind
    return ""


def provenance(header: "Header") -> dict[str, str | float | int]:
    """The PROVENANCE_CARDS that the header holds, as one card can hold them."""
    return plain(header, PROVENANCE_CARDS)


def wcs_cards(header: "Header") -> dict[str, str | float | int]:
    """The cards of the header's primary WCS, distortions by polynomials (PV, SIP) included, in its order."""
    return plain(header, wcs_names(header))


def wcs_names(header: "Header") -> tuple[str, ...]:
    """The names of those cards, each once."""
    return tuple(dict.fromkeys(name for name in header if _WCS_CARD.fullmatch(name)))


def unit(header: "Header") -> str | None:
    """The frame's unit as FITS spells it, 'adu' where the header is silent; None for one that is not known
    here.
    """
    return _UNITS.get(text(header, "BUNIT").lower())


def section(header: Cards, name: str, shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """A section card '[x0:x1,y0:y1]' (1-based, inclusive) as (rows, columns); None unless it lies within
    `shape`.

    A trimmed frame often keeps the cards of the raw one: then the section does not fit, and means nothing
    here.
    """
    match = _SECTION.match(text(header, name))
    if match is None:
        return None
    x0, x1, y0, y1 = (int(group) for group in match.groups())
    ny, nx = shape
    if not (1 <= x0 <= x1 <= nx and 1 <= y0 <= y1 <= ny):
        return None
    return slice(y0 - 1, y1), slice(x0 - 1, x1)


def _value(header: Cards, name: str) -> Any:
    try:
        return header.get(name)
    except _unreadable():
        return None  # a card that cannot be parsed says nothing


def _unreadable() -> tuple[type[Exception], ...]:
    """What astropy raises for a card that cannot be parsed; asked for only when it has raised."""
    from astropy.io.fits.verify import VerifyError

    return VerifyError, ValueError, UnicodeError, KeyError, IndexError


def plain(header: "Header", names: tuple[str, ...]) -> dict[str, str | float | int]:
    """Those of the cards that the header holds, as one card can hold them."""
    found = {name: _value(header, name) for name in names}
    clean = {name: value.strip()[:_LONGEST_TEXT] if isinstance(value, str) else value for name, value in found.items()}
    return {
        name: value
        for name, value in clean.items()
        if (isinstance(value, str) and value and value.isascii() and value.isprintable())
        or (isinstance(value, int | float) and not isinstance(value, bool))
    }
