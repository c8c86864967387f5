"""The catalog rung: any place, any way round, a pointing that is wrong; and never a false solution."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.special import pdtrc

from photometry.astrometry import AstrometrySettings, search, solve
from photometry.astrometry.fit import refine
from photometry.astrometry.plate import copied, sky_of
from photometry.astrometry.solution import LOG_ODDS, judge, log_odds
from photometry.errors import AstrometryFailedError
from photometry.registration import bright_first
from tests.photometry.astrometry.fields import Field, displaced, misses, shuffled, simulate

LATITUDES = st.one_of(st.sampled_from([-90.0, -89.5, 0.0, 89.9, 90.0]), st.floats(-90, 90))
LONGITUDES = st.one_of(st.sampled_from([0.0, 359.99]), st.floats(0, 359.99))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    ra=LONGITUDES, dec=LATITUDES, rotation=st.floats(0, 360), mirrored=st.booleans(),
    scale=st.sampled_from([1.5, 3.0, 10.0]), wrong=st.floats(0.97, 1.03), stars=st.integers(30, 400),
    spurious=st.floats(0, 0.5), lost=st.floats(0, 0.2), off=st.floats(0, 2), towards=st.floats(0, 360),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_any_field_is_solved(ra, dec, rotation, mirrored, scale, wrong, stars, spurious, lost, off, towards, seed):
    field = Field(ra, dec, rotation, mirrored, scale, (800, 1000), stars, spurious=spurious, lost=lost, seed=seed)
    truth = simulate(field)
    known = AstrometrySettings(scale * wrong)
    solution = search(truth.stars, field.shape, truth.catalog, displaced(ra, dec, off, towards), 2000.0, known)
    assert misses(solution.header, truth.wcs, field.shape).max() < 0.1
    assert solution.scale_arcsec == pytest.approx(scale, rel=1e-3)
    assert solution.rms_pixels < 0.05
    assert solution.log_odds > LOG_ODDS


@pytest.mark.parametrize("bend", [0.0, 3.0, 20.0])
def test_bright_stars_are_fitted_to_their_noise(bend):
    field = Field(1.0, -89.5, 33.0, stars=1500, shape=(2048, 2048), bend=bend, deep=1.1)
    truth = simulate(field)
    solution = search(
        truth.stars, field.shape, truth.catalog, displaced(1.0, -89.5, 2.0, 70.0), 2000.0, AstrometrySettings(2.03)
    )
    assert solution.rms_pixels < 0.022  # the noise is .02
    assert solution.order == (3 if bend else 1)
    assert misses(solution.header, truth.wcs, field.shape).max() < 0.02
    assert solution.rms_arcsec == pytest.approx(solution.rms_pixels * solution.scale_arcsec)
    assert solution.rung == "catalog"


def test_the_inverse_in_the_header_brings_the_sky_back_to_the_pixels():
    field = Field(200.0, 89.0, bend=20.0, stars=800)
    truth = simulate(field)
    header = search(truth.stars, field.shape, truth.catalog, (200.0, 89.0), 2000.0, AstrometrySettings(2.0)).header
    assert header["CTYPE1"] == "RA---TAN-SIP"
    wcs = WCS(header)
    x, y = (a.ravel() for a in np.meshgrid(np.linspace(0, 1199, 7), np.linspace(0, 999, 7)))
    sky = wcs.all_pix2world(np.stack([x, y], axis=1), 0)
    # what ds9 does: the inverse of the linear part, then AP and BP (Shupe et al. 2005)
    U, V = (wcs.wcs_world2pix(sky, 0) - (wcs.wcs.crpix - 1)).T
    order = header["AP_ORDER"]
    powers = [(a, b) for a in range(order + 1) for b in range(order + 1 - a)]
    u, v = (
        w + sum(header.get(f"{name}_{a}_{b}", 0.0) * U**a * V**b for a, b in powers) for w, name in ((U, "AP"), (V, "BP"))
    )
    assert np.hypot(u - U, v - V).max() > 5
    np.testing.assert_allclose([u + wcs.wcs.crpix[0] - 1, v + wcs.wcs.crpix[1] - 1], [x, y], atol=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_stars_have_no_solution(seed):
    field = Field(350.0, 88.0, stars=60, scale=4.0)
    truth = simulate(field)
    with pytest.raises(AstrometryFailedError, match=r"\d+ stars on the frame, \d+ in the catalog"):
        search(shuffled(truth.stars, seed), field.shape, truth.catalog, (350.0, 88.0), 2000.0, AstrometrySettings(4.0))


def test_a_scale_outside_what_is_known_is_not_believed():
    truth = simulate(Field(stars=60))
    with pytest.raises(AstrometryFailedError):
        search(truth.stars, (1000, 1200), truth.catalog, (120.0, 30.0), 2000.0, AstrometrySettings(2.2))


def test_halves_that_disagree_are_not_believed():
    field = Field(stars=150)
    truth = simulate(field)
    xy, vectors = bright_first(truth.stars), truth.catalog.around(120.0, 30.0, 1.0, 2000.0).vectors
    start = copied(sky_of(truth.wcs), field.shape, 1)
    fit, known = refine(start, xy, vectors, 3.0), AstrometrySettings(2.0)
    assert judge(fit, xy, vectors, "catalog", 1, known).halves[1].offset_pixels < 0.05
    right = xy[fit.i, 0] > np.median(xy[fit.i, 0])
    torn = replace(fit, miss=fit.miss + np.outer(right, [0.0, 2.0]))
    with pytest.raises(AstrometryFailedError, match="the halves disagree"):
        judge(torn, xy, vectors, "catalog", 1, known)
    bare = replace(fit, i=fit.i[xy[fit.i, 0] < 100], j=fit.j[xy[fit.i, 0] < 100], miss=fit.miss[xy[fit.i, 0] < 100])
    with pytest.raises(AstrometryFailedError, match="% of the stars agree"):
        judge(bare, xy, vectors, "catalog", 1, known)


@pytest.mark.parametrize("n", [0, 1, 4])
def test_hardly_a_star_is_no_solution(n):
    truth = simulate(Field(stars=60))
    with pytest.raises(AstrometryFailedError, match=rf"{n} stars on the frame"):
        search(truth.stars[:n], (1000, 1200), truth.catalog, (120.0, 30.0), 2000.0, AstrometrySettings(2.0))


def test_a_catalog_of_another_place_is_no_solution():
    truth = simulate(Field(stars=60))
    with pytest.raises(AstrometryFailedError, match="0 in the catalog"):
        search(truth.stars, (1000, 1200), truth.catalog, (300.0, 30.0), 2000.0, AstrometrySettings(2.0))


def test_without_anything_to_solve_from_it_says_so():
    with pytest.raises(AstrometryFailedError, match="neither a template"):
        solve(simulate(Field(stars=30)).stars, (1000, 1200), 2000.0, AstrometrySettings(2.0))


@pytest.mark.parametrize(("n", "expected"), [(5, 0.3), (12, 4.0), (300, 200.0)])
def test_the_odds_are_the_poisson_tail_or_less(n, expected):
    tail = -np.log(pdtrc(n - 1, expected))
    assert 0.5 * tail < log_odds(n, expected) <= tail


def test_no_surprise_has_no_odds():
    assert log_odds(3, 5.0) == 0.0
