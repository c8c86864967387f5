"""What a header says, in numbers: noise, saturation, sections, unit, time.

Headers lie and lack; nothing here raises for what stands in one.  What a card does not say, or says in a way
that cannot be meant, is None.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # who only wants a night need not load astropy
    from astropy.io.fits import Header

# EGAIN is electrons per unit by convention; GAIN is often an amplifier's setting, so it comes second.
GAIN_CARDS = ("EGAIN", "GAIN", "CCDGAIN", "AGAIN_01", "GAIN1", "HIERARCH ESO DET OUT1 CONAD")
READ_NOISE_CARDS = ("RDNOISE", "READNOIS", "READNOISE", "RON", "ARDNS_01", "RDNOISE1", "HIERARCH ESO DET OUT1 RON")
SATURATION_CARDS = ("SATURATE", "SATLEVEL", "SATURATION")
EXPOSURE_CARDS = ("EXPTIME", "EXPOSURE")
TIME_CARDS = ("UTCSTART", "UTSTART", "UT-START", "TIME-OBS", "UTC-OBS", "UT-OBS", "UT", "UTC", "TM-START")

_DATE_TIME = re.compile(
    r"^\s*(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:[T ]+(\d{1,2}):(\d{1,2}):(\d{1,2}(?:\.\d*)?)\s*(Z|[+-]\d{2}:?\d{2})?)?\s*$"
)
_OLD_DATE = re.compile(r"^\s*(\d{1,2})/(\d{1,2})/(\d{2})\s*$")
_TIME = re.compile(r"^\s*(?:\d{4}-\d{1,2}-\d{1,2}T)?(\d{1,2}):(\d{1,2}):(\d{1,2}(?:\.\d*)?)\s*(?:Z|[+-]00:?00)?\s*$")
_SECTION = re.compile(r"^\s*\[\s*(\d+)\s*:\s*(\d+)\s*,\s*(\d+)\s*:\s*(\d+)\s*\]\s*$")
_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
_SECONDS_PER_DAY = 86400.0
# What a product on the frame's grid takes over: when, of what and by whom it was exposed, and where it lies on the sky.
PROVENANCE_CARDS = (
    "TELESCOP", "INSTRUME", "OBSERVAT", "OBSERVER", "OBJECT", "FILTER",
    "DATE-OBS", "MJD-OBS", "TIMESYS", "EXPTIME", "AIRMASS",
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


@dataclass(frozen=True)
class Exposure:
    """start_mjd, mid_mjd: UTC, None where no time of day is known; seconds: None where not said; night:
    'YYYY-MM-DD'.
    """

    start_mjd: float | None
    mid_mjd: float | None
    seconds: float | None
    night: str


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


def provenance(header: "Header") -> dict[str, str | float | int]:
    """The PROVENANCE_CARDS that the header holds, as one card can hold them."""
    return _plain(header, PROVENANCE_CARDS)


def wcs_cards(header: "Header") -> dict[str, str | float | int]:
    """The cards of the header's primary WCS, distortions by polynomials (PV, SIP) included, in its order."""
    return _plain(header, wcs_names(header))


def wcs_names(header: "Header") -> tuple[str, ...]:
    """The names of those cards, each once."""
    return tuple(dict.fromkeys(name for name in header if _WCS_CARD.fullmatch(name)))


def unit(header: "Header") -> str | None:
    """The frame's unit as FITS spells it, 'adu' where the header is silent; None for one that is not known
    here.
    """
    return _UNITS.get(text(header, "BUNIT").lower())


def section(header: "Header", name: str, shape: tuple[int, int]) -> tuple[slice, slice] | None:
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


def exposure(header: Cards) -> Exposure:
    """When the frame was exposed.  DATE-OBS with a time; else with a card of the time of day; else MJD-OBS."""
    found = number(header, EXPOSURE_CARDS, 0.0, 1e6)
    seconds = found[1] if found else None
    stamp, day = _stamp(text(header, "DATE-OBS"))
    if stamp is None and day is not None:
        stamp = _on(day, header)
    if stamp is None:
        mjd = number(header, ("MJD-OBS",), 15000.0, 100000.0)
        # A whole number is a date that somebody turned into an MJD: no time of day either.
        if mjd is not None and (mjd[1] % 1.0 or day is None):
            stamp = _MJD_EPOCH + timedelta(days=mjd[1])
    if stamp is None:
        return Exposure(None, None, seconds, day.isoformat() if day else "undated")
    start = (stamp - _MJD_EPOCH).total_seconds() / _SECONDS_PER_DAY
    try:
        night = (stamp - timedelta(hours=12)).date().isoformat()
    except OverflowError:
        night = "undated"
    return Exposure(start, start + (seconds or 0.0) / 2.0 / _SECONDS_PER_DAY, seconds, night)


def night_of(header: Cards) -> str:
    """'YYYY-MM-DD' of the UTC time of exposure minus 12 h; the date itself where no time is known; else
    'undated'.
    """
    return exposure(header).night


def _value(header: Cards, name: str) -> Any:
    try:
        return header.get(name)
    except _unreadable():
        return None  # a card that cannot be parsed says nothing


def _unreadable() -> tuple[type[Exception], ...]:
    """What astropy raises for a card that cannot be parsed; asked for only when it has raised."""
    from astropy.io.fits.verify import VerifyError

    return VerifyError, ValueError, UnicodeError, KeyError, IndexError


def _plain(header: "Header", names: tuple[str, ...]) -> dict[str, str | float | int]:
    found = {name: _value(header, name) for name in names}
    clean = {name: value.strip()[:_LONGEST_TEXT] if isinstance(value, str) else value for name, value in found.items()}
    return {
        name: value
        for name, value in clean.items()
        if (isinstance(value, str) and value and value.isascii() and value.isprintable())
        or (isinstance(value, int | float) and not isinstance(value, bool))
    }


def _stamp(words: str) -> tuple[datetime | None, date | None]:
    """(UTC time, None), (None, date) or (None, None) from a DATE-OBS; offsets such as -0700 are applied."""
    old = _OLD_DATE.match(words)
    if old:
        words = f"19{old[3]}-{old[2]}-{old[1]}"
    match = _DATE_TIME.match(words)
    if match is None:
        return None, None
    try:
        day = date(int(match[1]), int(match[2]), int(match[3]))
        if match[4] is None:
            return None, day
        stamp = _at(day, match[4], match[5], match[6])
        zone = match[7]
        if zone and zone != "Z":
            digits = zone[1:].replace(":", "")
            shift = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
            stamp += shift if zone[0] == "-" else -shift
    except (ValueError, OverflowError):
        return None, None
    return stamp, None


def _on(day: date, header: Cards) -> datetime | None:
    for name in TIME_CARDS:
        match = _TIME.match(text(header, name))
        if match:
            try:
                return _at(day, match[1], match[2], match[3])
            except (ValueError, OverflowError):
                continue
    return None


def _at(day: date, hours: str, minutes: str, seconds: str) -> datetime:
    """A second of 60 is a leap second, which timedelta carries over."""
    if int(hours) > 23 or int(minutes) > 59 or float(seconds) >= 61.0:
        raise ValueError(f"no such time of day: {hours}:{minutes}:{seconds}")
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return midnight + timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))
