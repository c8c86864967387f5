"""The way from science to template pixels, as cards in a header, and back.

REGNX, REGNY: the science frame's size; REGX<b>_<a>, REGY<b>_<a>: the coefficients of u^a v^b, with u and v of
`photometry.registration.Transform`; REGSTARS, REGRMS: how many stars agreed and how well.
"""

from typing import Any

import numpy as np
from astropy.io.fits import Header

from photometry.errors import BadInputError
from photometry.registration import Transform

Cards = dict[str, tuple[Any, str]]


def to_cards(transform: Transform) -> Cards:
    """Card name -> (value, comment)."""
    ny, nx = transform.shape
    cards: Cards = {
        "REGNX": (nx, "[pix] size of the science frame"),
        "REGNY": (ny, "[pix] size of the science frame"),
        "REGORDER": (transform.cx.shape[0] - 1, "highest power in REGXb_a, REGYb_a"),
        "REGIDENT": (transform.identity, "T: offsets are under half a pixel"),
        "REGSTARS": (transform.stars, "stars that agreed"),
        "REGRMS": (round(float(transform.rms_pixels), 5), "[pix] their scatter on one axis"),
    }
    for name, table in (("X", transform.cx), ("Y", transform.cy)):
        for (b, a), value in np.ndenumerate(table):
            if value:
                cards[f"REG{name}{b}_{a}"] = (float(value), f"template {name.lower()}: term u^{a} v^{b}")
    return cards


def from_cards(header: Header) -> Transform:
    """The transform that `to_cards` wrote.  BadInputError where the cards are missing."""
    try:
        shape = (int(header["REGNY"]), int(header["REGNX"]))
        side = int(header["REGORDER"]) + 1
        tables = [
            np.array([[float(header.get(f"REG{name}{b}_{a}", 0.0)) for a in range(side)] for b in range(side)])
            for name in "XY"
        ]
        return Transform(
            tables[0], tables[1], shape, bool(header["REGIDENT"]), int(header["REGSTARS"]), float(header["REGRMS"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"no registration in the header ({error}): not a difference of this program") from error
