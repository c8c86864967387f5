"""The sky's level and noise, with and without a gain that can be believed."""

from dataclasses import replace

import numpy as np
import pytest

from photometry.background import pixel_noise, subtract_background
from photometry.mask import Bit
from photometry.settings import Settings

SETTINGS = Settings()
TRUE_NOISE = np.sqrt(500 / 1.5 + (6 / 1.5) ** 2)


def test_level_and_noise_of_a_starry_sky(make_sky):
    image, sky = subtract_background(make_sky(shape=(512, 600), stars=150).image(), SETTINGS)
    assert sky.median_level == pytest.approx(500, abs=1.5)
    assert sky.pixel_noise == pytest.approx(TRUE_NOISE, rel=0.02)
    assert sky.model_believed
    assert sky.pedestal == 0
    assert np.median(image.data) == pytest.approx(0, abs=1.5)
    # the variance of a blank pixel includes the sky
    assert np.median(image.variance) == pytest.approx(TRUE_NOISE**2, rel=0.02)
    assert image.data.dtype == image.variance.dtype == np.float32


def test_a_pedestal_holds_no_photons(make_sky):
    image, sky = subtract_background(make_sky(pedestal=1000).image(), SETTINGS)
    assert not sky.model_believed
    assert sky.pedestal == pytest.approx(1000, abs=40)
    assert np.median(image.variance) == pytest.approx(TRUE_NOISE**2, rel=0.05)


def test_a_wrong_gain_does_not_spoil_the_skys_noise(make_sky):
    wrong = replace(make_sky().image(), gain=0.5, read_noise=0.0)
    image, _ = subtract_background(wrong, SETTINGS)
    assert np.median(image.variance) == pytest.approx(TRUE_NOISE**2, rel=0.05)


def test_source_photons_add_to_the_variance(make_sky):
    sky = make_sky(stars=1, flux=(5.5, 5.51))
    image, _ = subtract_background(sky.image(), SETTINGS)
    y, x = round(sky.y[0]), round(sky.x[0])
    assert image.variance[y, x] == pytest.approx(TRUE_NOISE**2 + image.data[y, x] / 1.5, rel=0.03)


def test_a_gradient_is_followed(make_sky):
    sky = make_sky(shape=(512, 512), stars=40)
    slope = np.linspace(0, 300, 512, dtype=np.float32)[None, :]
    image, _ = subtract_background(replace(sky.image(), data=sky.data + slope), SETTINGS)
    left, right = np.median(image.data[:, 40:100]), np.median(image.data[:, 400:460])
    assert abs(left - right) < 5


def test_what_is_not_exposed_neither_speaks_nor_shows(make_sky):
    sky = make_sky()
    data = sky.data.copy()
    data[:, :40] = 3.0
    data[100, 200] = np.nan
    mask = np.zeros(data.shape, np.uint16)
    mask[:, :40] = Bit.EDGE
    mask[100, 200] = Bit.BAD
    image, background = subtract_background(replace(sky.image(), data=data, mask=mask), SETTINGS)
    assert background.median_level == pytest.approx(500, abs=2)
    assert (image.data[:, :40] == 0).all()
    assert image.data[100, 200] == 0
    assert (image.variance > 0).all()


def test_a_known_variance_is_kept(make_sky):
    given = replace(make_sky().image(), variance=np.full((256, 320), 77.0, np.float32))
    image, _ = subtract_background(given, SETTINGS, keep_variance=True)
    assert (image.variance == 77).all()


def test_pixel_noise_of_whole_numbers_below_one_and_of_nothing():
    rng = np.random.default_rng(1)
    data = rng.normal(100, 0.7, (400, 400)).round().astype(np.float32)
    open_sky = np.zeros(data.shape, bool)
    assert pixel_noise(data, open_sky) == pytest.approx(np.hypot(0.7, 1 / np.sqrt(12)), rel=0.03)
    assert np.isnan(pixel_noise(data, ~open_sky))
