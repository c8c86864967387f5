"""Where a header says that the telescope pointed."""

import re

import numpy as np

from photometry import cards
from photometry.instrument import Pointing

_SEXAGESIMAL = re.compile(r"([+-]?)\s*(\d{1,3})[:\s]+(\d{1,2})[:\s]+(\d{1,2}(?:\.\d*)?)")
_DEGREES_PER_HOUR = 15.0


def pointing_of(header: cards.Cards, rule: Pointing | None) -> tuple[float, float] | None:
    """Right ascension and declination in degrees by the instrument's cards; None where they do not say."""
    if rule is None:
        return None
    ra = _angle(header, rule.ra, 1.0 if rule.unit == "degrees" else _DEGREES_PER_HOUR, _DEGREES_PER_HOUR)
    dec = _angle(header, rule.dec, 1.0, 1.0)
    if ra is None or dec is None or not (-360.0 <= ra <= 360.0 and -90.0 <= dec <= 90.0):
        return None
    return ra % 360.0, dec


def _angle(header: cards.Cards, names: tuple[str, ...], plain: float, sexagesimal: float) -> float | None:
    """The first card that says one; a number times `plain`, or a text a:b:c times `sexagesimal`."""
    for name in names:
        found = cards.number(header, (name,), -360.0, 360.0)
        if found is not None:
            return found[1] * plain
        match = _SEXAGESIMAL.fullmatch(cards.text(header, name))
        if match is not None and float(match[3]) < 60 and float(match[4]) < 60:
            value = float(np.dot([float(part) for part in match.groups()[1:]], [1, 1 / 60, 1 / 3600]))
            return (-value if match[1] == "-" else value) * sexagesimal
    return None
