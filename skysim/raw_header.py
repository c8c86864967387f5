"""The header of a raw frame, as the instrument's own rules say that its frames tell time, pointing and filter."""

from datetime import datetime, timedelta

from astropy.io import fits

from photometry.instrument import Instrument, Pointing
from photometry.times import TimeRule
from skysim.frame import mjd

_USUAL = TimeRule(("DATE-OBS",), "UTC", "start", ("EXPTIME",))

Cards = list[tuple[str, str | float | bool, str]]


def raw_header(instrument: Instrument, kind: str, begins: datetime, seconds: float, filter_name: str | None) -> fits.Header:
    """Of a frame of `kind` (object, bias, dark, flat) whose exposure begins at a UTC moment."""
    cards: Cards = [(card, text, "") for card, text in instrument.identity.items()]
    cards += [("SIMULATE", True, "not a real sky"), ("IMAGETYP", kind, "")]
    cards += time_cards(instrument.time or _USUAL, begins, seconds)
    if filter_name is not None and instrument.filters is not None:
        cards.append((instrument.filters.cards[0], filter_name, ""))
    cards.append(("BUNIT", "adu", ""))
    return fits.Header(cards)


def time_cards(rule: TimeRule, begins: datetime, seconds: float) -> Cards:
    """The moment that the rule's cards tell, to a millisecond, and the exposure."""
    moment = begins + timedelta(seconds=seconds * {"start": 0.0, "middle": 0.5, "end": 1.0}[rule.at])
    comment = f"{rule.at} of the exposure"
    exposure: Cards = [(rule.exposure[0], seconds, "[s]")]
    if rule.cards[0].startswith("MJD"):
        return [(rule.cards[0], mjd(moment), f"[d] UTC, {comment}"), *exposure]
    zone = "+0000" if rule.zone == "card" else ""
    if rule.zone[0] in "+-":
        hours, minutes = int(rule.zone[1:3]), int(rule.zone[4:6])
        moment += (1 if rule.zone[0] == "+" else -1) * timedelta(hours=hours, minutes=minutes)
    words = moment.isoformat(timespec="milliseconds").removesuffix("+00:00")
    if len(rule.cards) == 1:
        return [(rule.cards[0], words + zone, comment), *exposure]
    day, time_of_day = words.split("T")
    return [(rule.cards[0], day, ""), (rule.cards[1], time_of_day + zone, comment), *exposure]


def pointing_cards(pointing: Pointing | None, ra_deg: float, dec_deg: float) -> Cards:
    """Where the telescope was told to look, ICRS."""
    if pointing is None:
        return []
    if pointing.unit == "degrees":
        return [(pointing.ra[0], ra_deg, "[deg] as told"), (pointing.dec[0], dec_deg, "[deg] as told")]
    return [
        (pointing.ra[0], sexagesimal(ra_deg / 15 % 24.0, 3, "", 24), "[h] as told"),
        (pointing.dec[0], sexagesimal(abs(dec_deg), 2, "-" if dec_deg < 0 else "+", 91), "[deg] as told"),
    ]


def sexagesimal(value: float, digits: int, sign: str, turn: int) -> str:
    """A value of 0 .. turn with so many digits of a second; what rounds up to a whole turn is 0."""
    unit = 10**digits
    ticks = round(value * 3600 * unit) % (turn * 3600 * unit)
    whole, fraction = divmod(ticks, unit)
    return f"{sign}{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}.{fraction:0{digits}d}"
