"""Sources: all of them, once each, with honest errors, and no frame that is given up."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from photometry import hills
from photometry.background import subtract_background
from photometry.detection import FLAG_BLENDED, FLAG_MASKED, FLAG_SATURATED, detect, flag_masked
from photometry.image import Image
from photometry.mask import Bit
from photometry.settings import Settings
from skysim.optics import Psf, draw
from skysim.sky import sky as demo_sky

SETTINGS = Settings()


def found(sky, settings=SETTINGS):
    return seen(sky.image(), settings)


def seen(image, settings=SETTINGS):
    image, background = subtract_background(image, settings)
    return detect(image, background, settings)


def match(sky, stars, radius=1.0):
    """(rows of stars, indices of the truth) that belong together"""
    distance, index = cKDTree(np.column_stack([sky.x, sky.y])).query(np.column_stack([stars["x"], stars["y"]]))
    near = distance < radius
    return stars[near], index[near]


def test_every_star_once_and_nothing_else(make_sky):
    sky = make_sky(shape=(600, 700), stars=150, apart=25, flux=(3.3, 5.0))
    stars = found(sky)
    rows, truth = match(sky, stars)
    assert len(np.unique(truth)) == 150
    assert len(stars) == 150
    assert np.median(np.hypot(rows["x"] - sky.x[truth], rows["y"] - sky.y[truth])) < 0.05
    assert np.median(rows["fwhm"]) == pytest.approx(3.5, rel=0.1)
    assert (np.diff(stars["flux"]) <= 0).all()


def test_fluxes_and_their_errors(make_sky):
    sky = make_sky(shape=(900, 900), stars=300, apart=30, flux=(3.3, 4.5))
    rows, truth = match(sky, found(sky))
    inside = 1 - np.exp(-0.5 * (8 / (3.5 / 2.3548)) ** 2)
    pulls = (rows["flux_aper3"] - inside * sky.flux[truth]) / rows["flux_aper3_err"]
    assert abs(np.median(pulls)) < 0.3
    assert np.percentile(pulls, 84) - np.percentile(pulls, 16) == pytest.approx(2.0, rel=0.2)
    # 2.5 Kron radii hold nearly all of a star
    assert np.median(rows["flux"] / sky.flux[truth]) == pytest.approx(0.97, abs=0.04)


@pytest.mark.parametrize(("rows", "threads"), [(1, "1"), (7, "2"), (300, "3")])
def test_neither_bands_nor_threads_change_anything(make_sky, monkeypatch, rows, threads):
    sky = make_sky(shape=(300, 280), stars=250, flux=(3, 5.5))
    whole = found(sky)
    monkeypatch.setattr(hills, "BAND_ROWS", rows)
    monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
    banded = found(sky)
    assert len(banded) == len(whole) > 200
    for name in whole.dtype.names:
        np.testing.assert_allclose(banded[name], whole[name], rtol=1e-6, err_msg=name)


def test_a_checkerboard_of_tops_is_no_harm():
    """120,000 tops on one plateau, without noise."""
    data = np.zeros((700, 700), np.float32)
    data[::2, ::2] = 1000.0
    data += 500.0
    seen(Image(data, np.full(data.shape, 4.0, np.float32), np.zeros(data.shape, np.uint16), "adu", 1.0, 1.0, 65000.0))


def test_faint_stars_are_found_and_noise_is_not(make_sky):
    noise = np.sqrt(500 / 1.5 + (6 / 1.5) ** 2) * np.sqrt(4 * np.pi) * 3.5 / 2.3548  # of a star's flux by its profile
    limits = np.log10(noise * np.array([6.9, 7.1]))
    sky = make_sky(shape=(800, 800), stars=300, apart=25, flux=tuple(limits))
    _, truth = match(sky, found(sky), 2.0)
    assert len(np.unique(truth)) >= 275
    assert len(found(make_sky(shape=(1000, 1000), stars=0))) <= 3


def test_two_stars_one_and_a_half_widths_apart_are_two(make_sky):
    pair = make_sky(shape=(400, 400), stars=60, apart=40, flux=(4.2, 4.6))
    shifted = np.roll(pair.data, 6, axis=1) - 500
    stars = seen(replace(pair.image(), data=pair.data + shifted))
    for dx in (0, 6):
        distance, index = cKDTree(np.column_stack([stars["x"], stars["y"]])).query(np.column_stack([pair.x + dx, pair.y]))
        inside = pair.x + dx < 390
        assert (distance[inside] < 1.2).all()
        assert (stars["flags"][index[inside]] & FLAG_BLENDED).all()


def drawn(light, seed=1, top=np.inf):
    """A frame of that light in electrons, 300 of sky, what is above `top` saturated."""
    rng = np.random.default_rng(seed)
    data = np.minimum(rng.poisson(light + 300.0) + rng.normal(0, 6, light.shape), top).astype(np.float32)
    mask = np.where(data >= top, np.uint16(Bit.SATURATED), np.uint16(0))
    return Image(data, np.maximum(data, 0) + np.float32(36), mask, "electron", 1.0, 6.0, top)


def test_a_galaxy_is_one_source():
    y, x = np.mgrid[:400, :400]
    far = np.hypot((x - 200.3) + 0.4 * (y - 199.6), 1.8 * (y - 199.6))
    stars = seen(drawn(2000 * np.exp(-far / 9)))
    near = stars[np.hypot(stars["x"] - 200.3, stars["y"] - 199.6) < 60]
    assert len(near) <= 2
    assert np.hypot(near["x"][0] - 200.3, near["y"][0] - 199.6) < 0.5
    assert near["a"][0] > 1.4 * near["b"][0] > 8


def test_clumpy_galaxies_do_not_fall_apart():
    fixed = demo_sky((700, 700), 1000.0, 3).fixed
    light = np.zeros((700, 700))
    draw(light, fixed.x, fixed.y, 60 * fixed.rate, Psf(4.0))
    stars = seen(drawn(light))
    host = np.hypot(stars["x"] - 0.56 * 700, stars["y"] - 0.47 * 700) < 40
    assert 1 <= host.sum() <= 5  # 600 points of light


def test_a_star_that_bleeds_is_one_source():
    light = np.zeros((600, 500))
    draw(light, np.array([250.2]), np.array([300.4]), np.array([8e6]), Psf(4.0))
    light[150:450, 247:254] += 80_000
    light[449:453, 244:258] += 80_000  # where the charge meets the end of its column
    light[300, 150:350] += 500 * np.exp(-np.abs(np.arange(-100, 100)) / 40)  # a spike
    stars = seen(drawn(light, top=60_000))
    assert len(stars) <= 6
    assert stars["flags"][0] & FLAG_SATURATED
    assert np.hypot(stars["x"][0] - 250, stars["y"][0] - 300) < 4
    assert stars["a"][0] > 10 * stars["b"][0]


def test_flags_of_saturated_and_masked_stars(make_sky):
    sky = make_sky(stars=40, apart=25, flux=(4.2, 5))
    image, background = subtract_background(sky.image(), SETTINGS)
    place = [(round(y), round(x)) for x, y in zip(sky.x, sky.y, strict=True)]
    image.mask[place[0]] |= np.uint16(Bit.SATURATED)
    image.mask[place[1]] |= np.uint16(Bit.BAD)
    stars = detect(image, background, SETTINGS)
    near = {i: stars[np.hypot(stars["x"] - sky.x[i], stars["y"] - sky.y[i]) < 2.5] for i in range(3)}
    assert (near[0]["flags"] & FLAG_SATURATED).any()
    assert (near[1]["flags"] & FLAG_MASKED).any()
    assert not (near[2]["flags"] & (FLAG_MASKED | FLAG_SATURATED)).any()
    image.mask[place[2]] |= np.uint16(Bit.COSMIC_RAY)
    flag_masked(image.mask, stars)
    assert (stars[np.hypot(stars["x"] - sky.x[2], stars["y"] - sky.y[2]) < 2.5]["flags"] & FLAG_MASKED).any()


def test_no_stars_and_tiny_frames(make_sky):
    stars = found(make_sky(stars=0))
    assert len(stars) == 0
    assert {"x", "y", "flux", "flux_aper1_err", "flags"} <= set(stars.dtype.names)
    assert len(found(make_sky(shape=(24, 30), stars=1, flux=(4, 4.1)))) == 1


def test_apertures_are_those_of_the_settings(make_sky):
    settings = Settings(aperture_radii_pixels=(2.0,))
    stars = found(make_sky(), settings)
    assert "flux_aper1" in stars.dtype.names
    assert "flux_aper2" not in stars.dtype.names


def test_structure_larger_than_stars_does_not_tie_them_together(make_sky):
    sky = make_sky(shape=(512, 512), stars=80, apart=20, flux=(4, 5))
    y, x = np.mgrid[:512, :512]
    ring = 300 * np.exp(-0.5 * ((np.hypot(x - 256, y - 256) - 150) / 25) ** 2)
    _, truth = match(sky, seen(replace(sky.image(), data=(sky.data + ring).astype(np.float32))))
    assert len(np.unique(truth)) >= 70
