"""Zero points against a catalog with variables, wrong matches, colours; clouds, frost and twilight say so."""

import numpy as np
import pytest

from photometry.smooth_map import fit_map
from photometry.stars.magnitudes import magnitudes
from photometry.zero_point import Expected, ZeroFlag, measure_zero_point

SHAPE = (2000, 3000)


def night(n=800, value=25.0, slope=0.0, colour_term=0.06, wrong=0.15, seed=1, error=0.01, pattern=lambda u, _: 0.0 * u):
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, SHAPE[1] - 1, n), rng.uniform(0, SHAPE[0] - 1, n)
    u, v = 2 * x / (SHAPE[1] - 1) - 1, 2 * y / (SHAPE[0] - 1) - 1
    magnitude, colour = rng.uniform(12, 18, n), rng.normal(0, 0.4, n)
    true = 10 ** (-0.4 * (magnitude - value - slope * u - pattern(u, v) - colour_term * colour))
    flux_err = np.hypot(true * error, 20)
    flux = true + rng.normal(0, 1, n) * flux_err
    bad = rng.random(n) < wrong
    flux[bad] *= 10 ** rng.normal(0.1, 0.4, bad.sum())
    listed = magnitude + rng.normal(0, 0.01, n)
    return {
        "flux": flux, "flux_err": flux_err, "magnitude": listed, "magnitude_err": np.full(n, 0.01),
        "x": x, "y": y, "shape": SHAPE, "colour": colour,
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [0.0, 0.15, 0.3])
def test_value_colour_and_slope_are_found(wrong):
    off = []
    for seed in range(6):
        found = measure_zero_point(**night(slope=0.02, wrong=wrong, seed=seed))
        off.append((found.value - 25.0) / found.error)
        assert found.value == pytest.approx(25.0, abs=0.004)
        assert found.colour == pytest.approx(0.06, abs=5 * found.colour_error)
        assert found.colour_error < 0.004
        ends = found.at(np.array([0.0, SHAPE[1] - 1]), np.array([1000.0, 1000.0]))
        assert ends[1] - ends[0] == pytest.approx(0.04, abs=0.01)
        assert found.flags == 0
    assert np.abs(off).max() < 5


def test_cloud_is_less_light_than_expected():
    found = measure_zero_point(**night(value=24.4), expected=Expected(value=25.0))
    assert found.flags == ZeroFlag.CLOUD
    assert "0.60 mag less light" in found.reasons[0]
    assert measure_zero_point(**night(), expected=Expected(value=25.0)).flags == 0


def test_a_pattern_is_patchy_cloud_until_it_stays_then_it_is_frost():
    frost = night(pattern=lambda u, v: -0.25 * (u - 0.2) ** 2 - 0.1 * v)
    first = measure_zero_point(**frost)
    assert first.flags == ZeroFlag.PATCHY
    again = measure_zero_point(**night(seed=2, value=24.95, pattern=lambda u, v: -0.25 * (u - 0.2) ** 2 - 0.1 * v),
                               expected=Expected(map=first.map))  # fmt: skip
    assert again.flags == ZeroFlag.FROST
    cloud = measure_zero_point(**night(seed=3, pattern=lambda u, _: 0.2 * u), expected=Expected(map=first.map))
    assert cloud.flags == ZeroFlag.PATCHY


def test_a_bright_sky_is_twilight():
    found = measure_zero_point(**night(), sky=4000.0, expected=Expected(sky=300.0))
    assert found.flags == ZeroFlag.TWILIGHT
    assert "2.81 mag brighter" in found.reasons[0]


def test_few_stars_say_so_and_none_is_nan():
    few = measure_zero_point(**night(n=4, wrong=0))
    assert few.flags & ZeroFlag.FEW_STARS
    none = measure_zero_point(**night(n=0))
    assert np.isnan(none.value)
    assert none.flags == ZeroFlag.FEW_STARS


def test_stars_that_disagree_are_told():
    assert measure_zero_point(**night(error=0.3, wrong=0)).flags == 0
    scattered = night(wrong=0)
    scattered["flux"] *= np.exp(np.random.default_rng(1).normal(0, 0.3, 800))
    assert measure_zero_point(**scattered).flags & ZeroFlag.SCATTER


def test_a_map_has_no_higher_order_than_the_stars_ask_for():
    rng = np.random.default_rng(4)
    x, y = rng.uniform(0, 999, (2, 300))
    orders = [fit_map(x, y, rng.normal(0, 0.01, 300), np.full(300, 0.01), (1000, 1000))[0].order for _ in range(20)]
    assert np.mean(orders) < 0.3
    bent = fit_map(x, y, 0.05 * (x / 500 - 1) ** 2 + rng.normal(0, 0.01, 300), np.full(300, 0.01), (1000, 1000))[0]
    assert bent.order == 2
    assert bent.middle[0] == pytest.approx(0.05 / 3, abs=0.003)


def test_a_negative_flux_has_no_magnitude():
    value, error = magnitudes(np.array([1e4, -50.0, 0.0]), np.array([100.0, 20, 20]), 25.0, 0.01)
    assert value[0] == pytest.approx(15.0)
    assert error[0] == pytest.approx(np.hypot(0.010857, 0.01), rel=1e-3)
    assert np.isnan(value[1:]).all()
    assert np.isnan(error[1:]).all()


def test_structure_is_that_of_the_sky_and_not_of_the_errors():
    """Twenty stars of 0.1 mag: their map leans by chance too."""
    found = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x, y = rng.uniform(0, 1000, (2, 20))
        leaning = fit_map(x, y, 0.3 * (x / 500 - 1) + rng.normal(0, 0.1, 20), np.full(20, 0.1), (1000, 1000))[0]
        found.append(leaning.structure)
    assert np.median(found) == pytest.approx(0.3 / np.sqrt(3), abs=0.003)
