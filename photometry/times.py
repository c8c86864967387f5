"""When a frame was exposed: by its instrument's rule, or by the usual cards.

Headers lie and lack; nothing here raises for what stands in one.  A time that is not said, or is said in a way that cannot
be meant, is None.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from photometry.cards import Cards, number, text

EXPOSURE_CARDS = ("EXPTIME", "EXPOSURE")
TIME_CARDS = ("UTCSTART", "UTSTART", "UT-START", "TIME-OBS", "UTC-OBS", "UT-OBS", "UT", "UTC", "TM-START")
INSTANTS = ("start", "middle", "end")
ZONE = re.compile(r"UTC|card|[+-]\d{2}:\d{2}")

_DATE = re.compile(r"\s*(\d{4})-(\d{1,2})-(\d{1,2})\s*")
_OLD_DATE = re.compile(r"\s*(\d{1,2})/(\d{1,2})/(\d{2})\s*")
_TIME = re.compile(r"[T\s]*(\d{1,2}):(\d{1,2}):(\d{1,2}(?:\.\d*)?)\s*(Z|[+-]\d{2}:?\d{2})?\s*")
_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
_MJD_LIMITS = (15000.0, 100000.0)
_SECONDS_PER_DAY = 86400.0
_MOST_SECONDS = 1e6
_NO_SHIFT = timedelta(0)


@dataclass(frozen=True)
class TimeRule:
    """Where an instrument's headers tell the time.

    cards     joined, the date first and then the time of day; one card that holds both; or one with an MJD
    zone      'UTC'; 'card': the offset that stands in the text; '+HH:MM': local time, so far ahead of UTC
    at        the instant that is told: start, middle or end of the exposure
    exposure  cards of the seconds, the first that holds a number counts
    """

    cards: tuple[str, ...]
    zone: str
    at: str
    exposure: tuple[str, ...]


@dataclass(frozen=True)
class Exposure:
    """start_mjd, mid_mjd: UTC, None where no time of day is known; seconds: None where not said; night: 'YYYY-MM-DD', the
    UTC date 12 h before, the date itself where no time is known, else 'undated'.
    """

    start_mjd: float | None
    mid_mjd: float | None
    seconds: float | None
    night: str


def exposure_of(header: Cards, rule: TimeRule | None = None) -> Exposure:
    """When the frame was exposed.

    Without a rule: DATE-OBS with a time, offsets applied; else with a card of the time of day; else MJD-OBS; the start.
    """
    found = number(header, EXPOSURE_CARDS if rule is None else rule.exposure, 0.0, _MOST_SECONDS)
    seconds = found[1] if found else None
    stamp, day = _usual(header) if rule is None else _ruled(header, rule)
    length = timedelta(seconds=seconds or 0.0)
    try:
        if stamp is not None and rule is not None:
            stamp -= {"start": _NO_SHIFT, "middle": length / 2, "end": length}[rule.at]
        night = (stamp - timedelta(hours=12)).date().isoformat() if stamp else day.isoformat() if day else "undated"
    except OverflowError:
        night = "undated"
    if stamp is None:
        return Exposure(None, None, seconds, night)
    start = (stamp - _MJD_EPOCH).total_seconds() / _SECONDS_PER_DAY
    return Exposure(start, start + (seconds or 0.0) / 2.0 / _SECONDS_PER_DAY, seconds, night)


def night_of(header: Cards, rule: TimeRule | None = None) -> str:
    """The night of `exposure_of`."""
    return exposure_of(header, rule).night


def _usual(header: Cards) -> tuple[datetime | None, date | None]:
    """(time, None), (None, date) or (None, None), by the cards that most headers have."""
    words = text(header, "DATE-OBS")
    day, rest = _day(words)
    stamp = _moment(day, rest, zone="any")
    if day is not None and not rest:
        stamps = (_moment(day, _time_of_day(text(header, name)), zone="UTC") for name in TIME_CARDS)
        stamp = next((found for found in stamps if found is not None), None)
    elif stamp is None:
        day = None  # neither a time nor a plain date: what stands there means nothing
    if stamp is None:
        mjd = number(header, ("MJD-OBS",), *_MJD_LIMITS)
        # A whole number is a date that somebody turned into an MJD: no time of day either.
        if mjd is not None and (mjd[1] % 1.0 or day is None):
            stamp = _MJD_EPOCH + timedelta(days=mjd[1])
    return stamp, day


def _ruled(header: Cards, rule: TimeRule) -> tuple[datetime | None, date | None]:
    mjd = number(header, rule.cards[:1], *_MJD_LIMITS)
    if mjd is not None:
        return _MJD_EPOCH + timedelta(days=mjd[1]), None
    day, rest = _day(text(header, rule.cards[0]))
    if len(rule.cards) > 1:
        rest = _time_of_day(text(header, rule.cards[1]))
    return _moment(day, rest, rule.zone), day


def _day(words: str) -> tuple[date | None, str]:
    """The date that a text begins with, and the rest."""
    old, new = _OLD_DATE.fullmatch(words), _DATE.match(words)
    try:
        if old:
            return date(1900 + int(old[3]), int(old[2]), int(old[1])), ""
        return (date(int(new[1]), int(new[2]), int(new[3])), words[new.end() :]) if new else (None, "")
    except ValueError:
        return None, ""


def _time_of_day(words: str) -> str:
    """The text without a date that it may begin with."""
    new = _DATE.match(words)
    return words[new.end() :] if new else words


def _moment(day: date | None, words: str, zone: str) -> datetime | None:
    """UTC; None where the text is no time of day, or its offset is not what `zone` asks for ('any': as it is).

    A second of 60 is a leap second, which timedelta carries over.
    """
    match = _TIME.fullmatch(words)
    if day is None or match is None:
        return None
    offset = _offset(match[4]) if match[4] else None
    if zone == "card" and offset is None:
        return None
    if zone == "UTC" and offset:
        return None
    if zone not in {"UTC", "card", "any"} and offset is None:
        offset = _offset(zone)
    hours, minutes, seconds = int(match[1]), int(match[2]), float(match[3])
    if hours > 23 or minutes > 59 or seconds >= 61.0:
        return None
    try:
        midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return midnight + timedelta(hours=hours, minutes=minutes, seconds=seconds) - (offset or _NO_SHIFT)
    except OverflowError:
        return None


def _offset(words: str) -> timedelta:
    """Of 'Z', '-0700' or '+05:30'."""
    digits = words[1:].replace(":", "") or "0000"
    shift = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return -shift if words[0] == "-" else shift
