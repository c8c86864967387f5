"""When a frame was exposed, by the usual cards and by an instrument's rule."""

import pytest
from astropy.io import fits

from photometry.times import TimeRule, exposure_of, night_of


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
    found = exposure_of(header(**values))
    assert found.start_mjd == (None if start is None else pytest.approx(start, abs=1e-6))
    assert night_of(header(**values)) == night


def test_the_middle_of_the_exposure():
    found = exposure_of(header(DATE_OBS="2026-06-21T03:14:15", EXPTIME=86.4))
    assert found.mid_mjd - found.start_mjd == pytest.approx(0.0005, abs=1e-9)


RULE = {"cards": ("DATE-OBS",), "zone": "UTC", "at": "start", "exposure": ("EXPTIME",)}


@pytest.mark.parametrize(
    ("rule", "values", "middle"),
    [
        ({}, {"DATE_OBS": "2026-06-21T12:00:00", "EXPTIME": 86.4}, 61212.5005),
        ({"at": "middle"}, {"DATE_OBS": "2026-06-21T12:00:00", "EXPTIME": 86.4}, 61212.5),
        ({"at": "end"}, {"DATE_OBS": "2026-06-21T12:00:00", "EXPTIME": 86.4}, 61212.4995),
        ({"zone": "+08:00"}, {"DATE_OBS": "2026-06-21T20:00:00"}, 61212.5),
        ({"zone": "card"}, {"DATE_OBS": "2026-06-21T05:00:00-0700"}, 61212.5),
        ({"zone": "card"}, {"DATE_OBS": "2026-06-21T12:00:00Z"}, 61212.5),
        ({"cards": ("DATE-OBS", "UTCSTART")}, {"DATE_OBS": "2026-06-21", "UTCSTART": "12:00:00.00"}, 61212.5),
        ({"cards": ("MJD-OBS",)}, {"MJD_OBS": 61212.5}, 61212.5),
        # what the rule does not allow is no time
        ({"zone": "card"}, {"DATE_OBS": "2026-06-21T12:00:00"}, None),
        ({}, {"DATE_OBS": "2026-06-21T05:00:00-0700"}, None),
        ({"cards": ("DATE-OBS", "UTCSTART")}, {"DATE_OBS": "2026-06-21"}, None),
        ({}, {"DATE_OBS": "2026-06-21T12:00:61"}, None),
    ],
)
def test_an_instruments_rule(rule, values, middle):
    found = exposure_of(header(**values), TimeRule(**{**RULE, **rule}))
    assert found.mid_mjd == (None if middle is None else pytest.approx(middle, abs=1e-7))
    noon = found.start_mjd is None or found.start_mjd >= 61212.5
    assert found.night == ("2026-06-21" if noon else "2026-06-20")
