"""Cosmic rays are hit, stars never."""

import numpy as np
import pytest

from photometry.background import subtract_background
from photometry.cosmics import find_cosmic_rays, mark_cosmic_rays
from photometry.detection import detect
from photometry.mask import Bit
from photometry.settings import Settings

SETTINGS = Settings()


def prepared(sky, data=None):
    from dataclasses import replace

    image = sky.image() if data is None else replace(sky.image(), data=data)
    image, sky = subtract_background(image, SETTINGS)
    return image, detect(image, sky, SETTINGS)


@pytest.mark.parametrize("fwhm", [1.8, 2.2, 3.5, 6.0])
def test_stars_are_never_hit(make_sky, fwhm):
    sky = make_sky(shape=(400, 500), stars=200, fwhm=fwhm, flux=(3, 5.3))
    image, stars = prepared(sky)
    hit = find_cosmic_rays(image, stars)
    near = np.zeros(image.shape, bool)
    for x, y in zip(sky.x, sky.y, strict=True):
        near[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2] = True
    assert not near[tuple(hit.T)].any()
    assert len(hit) <= 3


def test_trailed_stars_are_never_hit(make_sky):
    sky = make_sky(shape=(400, 500), stars=80, fwhm=2.5, flux=(4, 5), apart=30)
    trailed = np.mean([np.roll(sky.data, shift, axis=1) for shift in range(-6, 7)], axis=0, dtype=np.float32)
    # averaging left correlated noise, which no camera makes: drown it
    trailed += np.random.default_rng(3).normal(0, 30, trailed.shape).astype(np.float32)
    image, stars = prepared(sky, trailed)
    assert len(find_cosmic_rays(image, stars)) <= 3


def test_hits_tracks_and_hits_on_stars_are_found(make_sky):
    sky = make_sky(shape=(400, 500), stars=100, flux=(3.5, 4.8))
    data = sky.data.copy()
    rng = np.random.default_rng(5)
    places = [(int(y), int(x)) for y, x in zip(rng.uniform(5, 390, 40), rng.uniform(5, 470, 40), strict=True)]
    for i, (y, x) in enumerate(places):
        for step in range(1 + i % 6):  # points and tracks up to 6 pixels
            data[y, x + step] += 1500
    image, stars = prepared(sky, data)
    count = mark_cosmic_rays(image, stars)
    hit = (image.mask & Bit.COSMIC_RAY) != 0
    assert count == hit.sum()
    share = np.mean([hit[y, x] for y, x in places])
    assert share > 0.9
    assert hit.sum() < 400


def test_too_few_stars_to_know_flag_nothing(make_sky):
    sky = make_sky(stars=3)
    data = sky.data.copy()
    data[50, 50] += 5000
    image, stars = prepared(sky, data)
    assert not len(find_cosmic_rays(image, stars))
