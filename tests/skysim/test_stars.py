"""One sky for one seed, the same from everywhere; and the site's catalog of it."""

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.time import Time

from skysim.sphere import catalog
from skysim.sphere.catalog import site_catalog
from skysim.sphere.stars import COUNT_SLOPE, COUNTED_MAG, STARS_PER_SQUARE_DEGREE, stars_around
from skysim.sphere.tangent import vectors


@pytest.fixture(scope="module")
def field():
    return stars_around(5, 359.8, -75.0, 1.5)


@pytest.mark.parametrize("centre", [(0.0, -89.5), (359.9, 10.0), (120.0, 90.0), (200.0, -45.5)])
def test_circles_that_overlap_show_the_same_stars(centre):
    ra, dec = centre
    wide, narrow = stars_around(5, ra, dec, 1.2), stars_around(5, ra + 0.3, dec - np.sign(dec) * 0.1, 0.4)
    known = set(zip(wide.ra, wide.dec, wide.i, strict=True))
    assert narrow.ra.size > 1_000
    assert set(zip(narrow.ra, narrow.dec, narrow.i, strict=True)) <= known


def test_another_seed_is_another_sky(field):
    assert not set(field.ra) & set(stars_around(6, 359.8, -75.0, 1.5).ra)


@pytest.mark.parametrize("centre", [(0.0, -90.0), (0.0, 0.0), (359.8, -75.0)])
def test_counts_are_even_over_the_sky_and_rise_as_they_should(centre):
    stars = stars_around(5, *centre, 1.5)
    area = 2 * np.pi * np.degrees(1) ** 2 * (1 - np.cos(np.radians(1.5)))
    for mag in (COUNTED_MAG, COUNTED_MAG - 3):
        expected = area * STARS_PER_SQUARE_DEGREE * 10 ** (COUNT_SLOPE * (mag - COUNTED_MAG))
        assert (stars.i < mag).sum() == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_no_two_cells_are_copies(field):
    assert np.unique(field.i).size == field.i.size


def test_stars_fill_their_circle_evenly(field):
    off = np.degrees(np.arccos(np.clip(vectors(359.8, -75.0) @ vectors(field.ra, field.dec), -1, 1)))
    assert off.max() <= 1.5 + 1e-6
    inner = (off < 0.75).mean()
    assert inner == pytest.approx(0.25, abs=4 * np.sqrt(0.25 / field.ra.size))


def test_a_few_per_cent_move_fast_and_colours_spread(field):
    fast = np.hypot(field.pmra, field.pmdec) > 30
    assert 0.03 < fast.mean() < 0.06
    assert field.magnitude("g") == pytest.approx(field.i + field.g_minus_r + field.r_minus_i)
    assert 0.2 < field.r_minus_i.std() < 1


@pytest.mark.parametrize("dec", [-89.9, -30.0])
def test_motions_are_those_of_astropy(dec):
    stars = stars_around(5, 0.0, dec, 0.05)
    rate = u.mas / u.yr
    at = SkyCoord(stars.ra * u.deg, stars.dec * u.deg, pm_ra_cosdec=stars.pmra * rate, pm_dec=stars.pmdec * rate,
                  distance=1 * u.kpc, obstime=Time(2016.0, format="jyear", scale="tdb"))  # fmt: skip
    moved = at.apply_space_motion(Time(2026.5, format="jyear", scale="tdb"))
    ours = SkyCoord(*stars.places_at(2026.5), unit="deg")
    assert moved.separation(ours).to_value(u.mas).max() < 0.5
    assert at.separation(ours).to_value(u.mas).max() > 1_000


def test_catalog_has_the_columns_that_a_site_needs(field):
    table = site_catalog(field, "r", 1)
    assert table.colnames == ["ra", "dec", "epoch", "pmra", "pmdec", "mag", "mag_err", "band", "system"]
    assert str(table["pmra"].unit) == "mas / yr"
    assert set(table["band"]) == {"r"}
    assert set(table["epoch"]) == {2016.0}
    assert ((table["ra"] >= 0) & (table["ra"] < 360)).all()


def test_catalogs_errors_are_what_it_says(field):
    table = site_catalog(field, "i", 1)
    entries, stars = SkyCoord(table["ra"], table["dec"]), SkyCoord(field.ra, field.dec, unit="deg")
    index, off, _ = entries.match_to_catalog_sky(stars)
    real = off < 1 * u.arcsec
    assert 0.001 < (~real).mean() < 0.01  # spurious
    pull = (table["mag"] - field.i[index])[real] / table["mag_err"][real]
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1, rel=0.03)  # robust: some match a neighbour
    bright = real & (table["mag"] < 15)
    assert np.sqrt(np.mean(off[bright].arcsec ** 2)) == pytest.approx(catalog.PLACE_ERROR_ARCSEC * np.sqrt(2), rel=0.1)


def test_catalog_ends_where_the_survey_did_and_misses_some(field):
    table = site_catalog(field, "i", 1)
    bins = np.array([10.0, 17.0, 17.95, 18.05, 19.0, 20.0])
    share = np.histogram(table["mag"], bins)[0] / np.histogram(field.i, bins)[0]
    assert share[0] == pytest.approx(1 - catalog.MISSED_FRACTION, abs=0.02)
    assert share[2] == pytest.approx(0.5, abs=0.1)
    assert share[4] < 0.02
    assert table["mag"].min() > catalog.BRIGHT_END_MAG - 0.1
