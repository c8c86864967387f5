"""Frames on which there is little or nothing to measure: an answer with its flags, or an error of one line that says why."""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import ndimage

from photometry.background import subtract_background
from photometry.detection import detect
from photometry.errors import PhotometryError
from photometry.image import Image
from photometry.mask import Bit
from photometry.psf import PsfModel
from photometry.settings import Settings
from photometry.stars.aperture import aperture_fluxes, measure_growth
from photometry.stars.fit import StarFlag, fit_stars
from photometry.stars.psf import measure_psf
from skysim.optics import Psf, draw

SKY, READ_NOISE = 400.0, 6.0


def frame(stars, *, fwhm=3.0, shape=(300, 300), flux=(3.3, 5.5), smear=None, full_well=1e9, masked=0.0):
    """A raw frame of so many stars at random places; what is saturated, or at random, is masked."""
    rng = np.random.default_rng(stars)
    light = np.zeros(shape)
    x, y = rng.uniform(0, shape[1] - 1, stars), rng.uniform(0, shape[0] - 1, stars)
    draw(light, x, y, 10 ** rng.uniform(*flux, stars), Psf(fwhm, 0.03, -0.02))
    light = light if smear is None else ndimage.convolve(light, smear / smear.sum())
    data = np.minimum(rng.poisson(light + SKY) + rng.normal(0, READ_NOISE, shape), full_well)
    mask = np.where(data >= full_well, np.uint16(Bit.SATURATED), np.uint16(0))
    mask |= np.where(rng.random(shape) < masked, np.uint16(Bit.BAD), np.uint16(0))
    variance = (light + SKY + READ_NOISE**2).astype(np.float32)
    return Image(data.astype(np.float32), variance, mask, "electron", 1.0, READ_NOISE, full_well)


RADII = np.hypot(*np.mgrid[-12:13, -12:13])
ODD = {
    "empty": frame(0),
    "one star": frame(1),
    "five stars": frame(5),
    "five faint stars": frame(5, flux=(2.5, 3.0)),
    "all saturated": frame(80, full_well=450.0),
    "extremely crowded": frame(8_000, shape=(250, 250)),
    "all masked": frame(60, masked=1.0),
    "half masked": frame(60, masked=0.5),
    "trailed": frame(40, smear=np.ones((1, 25))),
    "out of focus": frame(40, smear=((RADII < 12) & (RADII > 5)).astype(float)),
    "very wide": frame(15, fwhm=50.0),
    "very narrow": frame(60, fwhm=1.0),
    "small": frame(3, shape=(16, 40)),
    "one pixel": frame(0, shape=(1, 1)),
}


def measured(image, stars, threads):
    """As the pipeline goes: (fits, growth, aperture fluxes)."""
    psf, quality = measure_psf(image, stars, threads)
    assert np.isfinite(psf.planes).all()
    assert quality.stars > 0
    fits = fit_stars(image, psf, stars["x"], stars["y"], threads)
    growth = measure_growth(image, psf, fits)
    return fits, growth, growth and aperture_fluxes(image, psf, fits, growth)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_frame_is_measured_or_refused_in_one_line(name, threads):
    refused = ""
    try:
        image, sky = subtract_background(ODD[name], Settings(), keep_variance=True)
        stars = detect(image, sky, Settings())
        fits, growth, apertures = measured(image, stars, threads)
    except PhotometryError as error:
        refused = str(error)
    if refused:
        assert "\n" not in refused
        assert len(refused) > 20
        assert name not in {"one star", "five stars", "trailed", "out of focus"}
        return
    assert name not in {"empty", "all saturated", "all masked", "one pixel"}
    assert (np.isfinite(fits.stars["flux"]) | ((fits.stars["flags"] & int(StarFlag.NO_FIT)) != 0)).all()
    assert np.isfinite(fits.model).all()
    if growth is not None:
        flux, error, cut = apertures
        assert (np.isfinite(flux + error) | cut).all()
        assert growth.shares[-4] > 0.75
    assert name != "extremely crowded" or growth is None


CENTRED = PsfModel((np.exp(-(RADII**2) / 4) / np.exp(-(RADII**2) / 4).sum())[None], (0,), (0,), (60, 70))


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2, 5, 40]), st.floats(-3, 25), st.sampled_from([0.0, 0.1, 0.9]))
def test_noise_of_any_level_is_never_a_crash(seed, count, level, masked):
    """Whatever is listed as stars, wherever, on whatever data."""
    rng = np.random.default_rng(seed)
    sky = 10.0**level
    data = rng.normal(0, np.sqrt(sky), (60, 70)).astype(np.float32)
    data += np.where(rng.random(data.shape) < 0.01, np.float32(1e3 * np.sqrt(sky)), np.float32(0))
    mask = np.where(rng.random(data.shape) < masked, rng.integers(1, 64, data.shape), 0).astype(np.uint16)
    data[mask != 0] = rng.choice([np.nan, np.inf, 0.0])
    image = Image(data, np.full(data.shape, sky, np.float32), mask, "adu", 10 ** rng.uniform(-2, 1), 5.0, 1e9)
    stars = np.zeros(count, [(name, "f8") for name in ("x", "y", "flux", "flux_err", "peak")] + [("flags", "i4")])
    stars["x"], stars["y"] = rng.uniform(-3, 72, count), rng.uniform(-3, 62, count)
    stars["flux"], stars["peak"] = 1e3 * np.sqrt(sky), rng.choice([0, 1, 100]) * np.sqrt(sky)
    with ThreadPoolExecutor(1) as threads:
        with contextlib.suppress(PhotometryError):
            measured(image, stars, threads)
        fits = fit_stars(image, CENTRED, stars["x"], stars["y"], threads)
        assert (np.isfinite(fits.stars["flux"]) | ((fits.stars["flags"] & int(StarFlag.NO_FIT)) != 0)).all()
        measure_growth(image, CENTRED, fits)


@pytest.mark.parametrize("seed", range(3))
def test_stars_that_lie_on_each_other_do_not_blow_up(threads, seed):
    """Three hundred listed where there are none, several within each FWHM: together no more light than there is."""
    rng = np.random.default_rng(seed)
    data = rng.normal(0, np.sqrt(SKY), (60, 70)).astype(np.float32)
    image = Image(data, np.full(data.shape, SKY, np.float32), np.zeros(data.shape, np.uint16), "electron", 1.0, 0.0, 1e9)
    x, y = rng.uniform(15, 45, (2, 300))
    fits = fit_stars(image, CENTRED, x, y, threads)
    inner = slice(18, 42), slice(18, 42)
    assert abs((fits.model - data)[inner].sum()) < 12 * np.sqrt(SKY * data[inner].size)
    flux = fits.stars["flux"]
    merged = np.isnan(flux)
    assert 0.3 < merged.mean() < 0.8
    assert (fits.stars["flags"][merged] == int(StarFlag.NO_FIT)).all()
    assert (fits.stars["flags"][~merged] & int(StarFlag.UNSETTLED | StarFlag.BLENDED) != 0).all()


def test_of_stars_at_one_place_the_first_is_fitted(threads):
    image = frame(1, shape=(60, 70))
    image = replace(image, data=image.data - np.float32(SKY))
    alone = fit_stars(image, CENTRED, np.array([30.0]), np.array([31.0]), threads).stars
    same = fit_stars(image, CENTRED, np.array([30.0, 30.0, 30.5]), np.array([31.0, 31.0, 30.6]), threads).stars
    assert same[0] == alone[0]
    assert np.isnan(same["flux"][1:]).all()
