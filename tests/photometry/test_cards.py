"""What real headers say."""

import pytest
from astropy.io import fits

from photometry import cards
from photometry.frame import night_of


def header(**values: object) -> fits.Header:
    return fits.Header({key.replace("_OBS", "-OBS"): value for key, value in values.items()})


@pytest.mark.parametrize(
    ("values", "start", "night"),
    [
        ({"DATE_OBS": "2026-06-21T03:14:15"}, 61212.134896, "2026-06-20"),
        ({"DATE_OBS": "2026-06-21T12:00:00.5Z"}, 61212.500006, "2026-06-21"),
        # local time with its offset
        ({"DATE_OBS": "2017-12-19T18:33:43.317-0700"}, 58107.065085, "2017-12-19"),
        ({"DATE_OBS": "2017-12-19T18:33:43+05:30"}, 58106.544248, "2017-12-19"),
        # the time of day in a card of its own
        ({"DATE_OBS": "2019-03-26", "UTCSTART": "02:32:40.13"}, 58568.106020, "2019-03-25"),
        ({"DATE_OBS": "2013-07-13", "UT": "00:57:33", "MJD_OBS": 56486.0}, 56486.039965, "2013-07-12"),
        ({"DATE_OBS": "26/10/92", "MJD_OBS": 48921.62787}, 48921.62787, "1992-10-26"),
        ({"MJD_OBS": 56470.9675}, 56470.9675, "2013-06-27"),
        # a leap second
        ({"DATE_OBS": "2016-12-31T23:59:60.5"}, 57754.000006, "2016-12-31"),
        ({"DATE_OBS": "2026-06-21"}, None, "2026-06-21"),
        ({"DATE_OBS": "2026-06-21T25:00:00"}, None, "undated"),
        ({"DATE_OBS": "2026-13-41T01:00:00"}, None, "undated"),
        ({"DATE_OBS": 5}, None, "undated"),
        ({"DATE_OBS": "0001-01-01T01:00:00"}, -678574.958333, "undated"),
        ({}, None, "undated"),
    ],
)
def test_time_and_night(values, start, night):
    found = cards.exposure(header(**values))
    assert found.start_mjd == (None if start is None else pytest.approx(start, abs=1e-6))
    assert night_of(header(**values)) == night


def test_the_middle_of_the_exposure():
    found = cards.exposure(header(DATE_OBS="2026-06-21T03:14:15", EXPTIME=86.4))
    assert found.mid_mjd - found.start_mjd == pytest.approx(0.0005, abs=1e-9)


def test_the_first_card_that_holds_a_sensible_number_is_taken():
    said = header(EGAIN="not known", GAIN=True, AGAIN_01=4.95)
    assert cards.number(said, cards.GAIN_CARDS, 0.01, 1000) == ("AGAIN_01", 4.95)
    assert cards.number(header(GAIN=0.0), cards.GAIN_CARDS, 0.01, 1000) is None
    assert cards.number(header(GAIN=" 1.9 "), cards.GAIN_CARDS, 0.01, 1000) == ("GAIN", 1.9)


def test_sections_are_one_based_and_must_fit():
    said = header(TRIMSEC="[  17: 528,   1: 520]")
    assert cards.section(said, "TRIMSEC", (520, 536)) == (slice(0, 520), slice(16, 528))
    assert cards.section(said, "TRIMSEC", (512, 512)) is None
    assert cards.section(header(TRIMSEC="[5:2,1:2]"), "TRIMSEC", (9, 9)) is None
    assert cards.section(header(TRIMSEC="all of it"), "TRIMSEC", (9, 9)) is None


@pytest.mark.parametrize(("said", "unit"), [("ADU", "adu"), ("", "adu"), ("electrons", "electron"), ("Jy/beam", None)])
def test_units(said, unit):
    assert cards.unit(header(BUNIT=said)) == unit


def test_what_a_product_takes_over_fits_in_plain_cards():
    said = header(OBJECT="x" * 80, FILTER=" r ", EXPTIME=60.0, TELESCOP=True, CTYPE1="RA---TPV", PV1_5=0.1, CD1_1=-1e-4)
    assert cards.provenance(said) == {"OBJECT": "x" * 68, "FILTER": "r", "EXPTIME": 60.0}
    assert cards.wcs_cards(said) == {"CTYPE1": "RA---TPV", "PV1_5": 0.1, "CD1_1": -1e-4}
