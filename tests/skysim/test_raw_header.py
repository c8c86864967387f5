"""A raw header says what the suite's own rules read back."""

from datetime import UTC, datetime

import astropy.units as u
import pytest
from astropy.coordinates import Angle
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from photometry.instrument import Pointing, load_instrument
from photometry.times import TimeRule, exposure_of
from skysim.frame import mjd
from skysim.raw_header import pointing_cards, raw_header, sexagesimal, time_cards

BEGINS = datetime(2026, 6, 21, 23, 59, 58, 250_000, tzinfo=UTC)


@pytest.mark.parametrize("zone", ["UTC", "card", "+08:00", "-03:30"])
@pytest.mark.parametrize("at", ["start", "middle", "end"])
@pytest.mark.parametrize("cards", [("DATE-OBS",), ("DATE-OBS", "UT"), ("MJD-OBS",)])
def test_the_time_is_read_as_it_was(zone, at, cards):
    rule = TimeRule(cards, zone, at, ("EXPOSURE",))
    header = fits.Header(time_cards(rule, BEGINS, 33.0))
    read = exposure_of(header, rule)
    assert read.seconds == 33
    assert read.start_mjd == pytest.approx(mjd(BEGINS), abs=1.2e-8)


@given(ra=st.floats(0, 360), dec=st.floats(-90, 90), unit=st.sampled_from(["hours", "degrees"]))
@settings(deadline=None)
def test_the_pointing_is_read_by_astropy(ra, dec, unit):
    cards = {name: value for name, value, _ in pointing_cards(Pointing(("RA",), ("DEC",), unit), ra, dec)}
    read = Angle(cards["RA"], u.hourangle if unit == "hours" else u.deg).deg, Angle(cards["DEC"], u.deg).deg
    assert (read[0] - ra + 180) % 360 - 180 == pytest.approx(0, abs=1e-5)
    assert read[1] == pytest.approx(dec, abs=1e-5)


def test_seconds_never_round_up_to_sixty():
    assert sexagesimal(23.99999999999, 3, "", 24) == "00:00:00.000"
    assert sexagesimal(89.9999999, 2, "-", 91) == "-90:00:00.00"


def test_calibration_frames_have_no_pointing_and_a_kind():
    header = raw_header(load_instrument("ast3"), "bias", BEGINS, 0.0, None)
    assert (header["INSTRUME"], header["IMAGETYP"], header["EXPTIME"]) == ("AST3", "bias", 0)
    assert "RA" not in header
    assert "FILTER" not in header
