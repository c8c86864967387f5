"""Where the header says that the telescope pointed, in the ways that headers say it."""

import pytest
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from photometry.instrument import Pointing, load_instrument
from photometry.pointing import pointing_of

HOURS = Pointing(("RA", "OBJCTRA"), ("DEC", "OBJCTDEC"), "hours")
DEGREES = Pointing(("RA",), ("DEC",), "degrees")


@pytest.mark.parametrize(
    ("header", "rule", "found"),
    [
        ({"RA": "06:00:00.0", "DEC": "-00:30:36"}, HOURS, (90.0, -0.51)),
        ({"OBJCTRA": "23 59 60.0", "OBJCTDEC": "+46 0 0"}, HOURS, None),
        ({"OBJCTRA": "02 04 10.3", "OBJCTDEC": "+46 41 16"}, HOURS, (31.042917, 46.687778)),
        ({"RA": 6.5, "DEC": 12.0}, HOURS, (97.5, 12.0)),
        ({"RA": 97.5, "DEC": "-89:30:00"}, DEGREES, (97.5, -89.5)),
        ({"RA": "06:30:00", "DEC": 10}, DEGREES, (97.5, 10.0)),
        ({"RA": -10.0, "DEC": 10}, DEGREES, (350.0, 10.0)),
        ({"RA": 97.5, "DEC": -91.0}, DEGREES, None),
        ({"RA": "nan", "DEC": 1.0}, DEGREES, None),
        ({"RA": "here", "DEC": 1.0}, DEGREES, None),
        ({}, DEGREES, None),
        ({"RA": 97.5, "DEC": 1.0}, None, None),
    ],
)
def test_what_headers_say(header, rule, found):
    assert pointing_of(header, rule) == (found if found is None else pytest.approx(found, abs=1e-6))


@settings(deadline=None)
@given(st.floats(0, 359.999), st.floats(-90, 90))
def test_as_astropy_writes_it(ra, dec):
    there = SkyCoord(ra, dec, unit="deg")
    header = dict(zip(("RA", "DEC"), there.to_string("hmsdms", sep=":", precision=7).split(), strict=True))
    found = pointing_of(header, load_instrument("ast3").pointing)
    if "60.0000000" not in header["RA"] + header["DEC"] and not header["RA"].startswith("24"):
        assert found == pytest.approx((ra, dec), abs=1e-6) or abs(found[0] - ra) > 359.99
