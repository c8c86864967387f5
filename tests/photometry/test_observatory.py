"""Barycentric times against the solar system's ephemeris by hand, and the cards of an exposure."""

import subprocess
import sys

import erfa
import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time

from photometry.observatory import Site, bjd_tdb, time_cards
from photometry.times import exposure_of

DOME_A = Site(77.116, -80.417, 4093.0)
AMADO = Site(-110.88, 31.68, 1300.0)
LIGHT_DAYS_PER_AU = 499.004784 / 86400


def by_hand(mjd, ra, dec, leap_seconds):
    """BJD_TDB of the geocentre: TT and the Earth's barycentric place; the site adds at most 21 ms, TDB 2 ms."""
    tt = (leap_seconds + 32.184) / 86400
    _, barycentric = erfa.epv00(2400000.5, mjd + tt)
    a, d = np.deg2rad([ra, dec])
    star = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    return 2400000.5 + mjd + tt + barycentric["p"] @ star * LIGHT_DAYS_PER_AU


@pytest.mark.parametrize(("mjd", "leap_seconds"), [(58107.06543191, 37), (51544.5, 32), (61000.25, 37)])
@pytest.mark.parametrize(("ra", "dec"), [(31.04276, 46.68785), (0.0, -89.5), (266.4, -29.0)])
@pytest.mark.parametrize("site", [DOME_A, AMADO])
def test_barycentric_times_are_right_to_a_tenth_of_a_second(mjd, leap_seconds, ra, dec, site):
    assert bjd_tdb(mjd, ra, dec, site) == pytest.approx(by_hand(mjd, ra, dec, leap_seconds), abs=0.1 / 86400)


def test_dates_that_no_table_covers_are_still_good():
    """Decades on, with the tables of today: leap seconds and all, a night has one length."""
    first, second = bjd_tdb(np.array([70000.0, 70001.0]), 10.0, -70.0, DOME_A)
    assert 0.99 < second - first < 1.01


def test_nothing_asks_the_network():
    """In a fresh process whose sockets cannot be had."""
    script = (
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('the network was asked')\n"
        "socket.create_connection = socket.getaddrinfo = socket.socket.connect = refuse\n"
        "from photometry.observatory import Site, bjd_tdb\n"
        "print(float(bjd_tdb(70000.0, 10.0, -70.0, Site(77.1, -80.4, 4093.0))))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(2470000.5, abs=0.01)


def test_the_cards_say_when_and_where():
    header = fits.Header({"DATE-OBS": "2026-06-21T23:59:30", "EXPTIME": 60.0})
    cards = time_cards(exposure_of(header), DOME_A)
    assert {name: value for name, (value, _) in cards.items() if not name.startswith("OBSGEO")} == {
        "TIMESYS": "UTC", "DATE-BEG": "2026-06-21T23:59:30.000", "DATE-AVG": "2026-06-22T00:00:00.000",
        "DATE-END": "2026-06-22T00:00:30.000", "MJD-AVG": 61213.0,
    }  # fmt: skip
    assert Time(cards["DATE-AVG"][0], scale="utc").mjd == cards["MJD-AVG"][0]
    where = [cards[f"OBSGEO-{axis}"][0] for axis in "XYZ"]
    assert np.linalg.norm(where) == pytest.approx(6.3614e6, abs=2e3)  # near the pole, and high
    assert where[2] < 0
    written = fits.Header()
    written.update(cards)
    assert written["MJD-AVG"] == 61213.0


def test_what_is_not_known_has_no_card():
    assert time_cards(exposure_of({"EXPTIME": 5.0})) == {}
    assert set(time_cards(exposure_of({"DATE-OBS": "2026-06-21T23:59:30"}))) >= {"TIMESYS", "DATE-BEG"}
    assert "DATE-END" not in time_cards(exposure_of({"DATE-OBS": "2026-06-21T23:59:30"}))
