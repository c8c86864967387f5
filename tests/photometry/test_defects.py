"""Columns, dead pixels, saturation: found where they are, and not where they are not."""

import numpy as np
import pytest

from photometry import defects

NOISE = 18.7


def test_a_clean_sky_has_no_defects(make_sky):
    data = make_sky(shape=(512, 600), stars=300, flux=(3, 5.3)).data
    usable = np.ones(data.shape, bool)
    assert not defects.bad_columns(data, usable, NOISE).any()
    dead, hot = defects.odd_pixels(data, NOISE)
    assert not dead.any()
    assert not hot.any()


def test_undersampled_stars_are_not_hot(make_sky):
    data = make_sky(shape=(512, 600), stars=300, fwhm=1.4, flux=(4, 5.3)).data
    assert not defects.odd_pixels(data, NOISE)[1].any()


def test_a_bad_column_and_half_of_one(make_sky):
    data = make_sky(shape=(512, 600), stars=100).data
    data[:, 100] = 1200.0
    data[:230, 300:302] -= 200.0
    bad = defects.bad_columns(data, np.ones(data.shape, bool), NOISE)
    assert bad[:, 100].all()
    assert bad[:230, 300:302].all()
    assert not bad[300:, 300:302].any()
    assert bad.sum() < 512 + 2 * 300


def test_dead_and_hot_pixels(make_sky):
    data = make_sky(stars=20).data
    data[30, 40] = 0.0
    data[50, 60] = 9000.0
    dead, hot = defects.odd_pixels(data, NOISE)
    assert dead[30, 40]
    assert dead.sum() == 1
    assert hot[50, 60]
    assert hot.sum() == 1


@pytest.mark.parametrize(("top", "level"), [(65535, 65535), (4095, 4095), (30000, 30000)])
def test_a_plateau_is_saturation_whatever_its_height(make_sky, top, level):
    data = make_sky().data.clip(0, 2500)
    data[10:13, 10:13] = top
    found = defects.find_saturation(data, np.ones(data.shape, bool), whole_numbers=True)
    assert found == pytest.approx(level, rel=0.002)


def test_without_a_plateau_the_converters_ceiling_or_nothing(make_sky):
    data = make_sky(stars=20, flux=(4, 4.5)).data
    usable = np.ones(data.shape, bool)
    assert defects.find_saturation(data.round(), usable, whole_numbers=True) in defects.CEILINGS
    assert defects.find_saturation(data, usable, whole_numbers=False) == np.inf


def test_saturation_takes_the_neighbours_too():
    data = np.zeros((9, 9), np.float32)
    data[4, 4] = 100
    assert defects.saturated(data, 100.0).sum() == 9
