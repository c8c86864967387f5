"""The PSF from a frame's stars: its width over the frame, with neighbours, galaxies and cosmic rays about."""

import numpy as np
import pytest

from photometry.errors import SubtractionFailedError
from photometry.mask import Bit
from photometry.psf import build_psf, core_covariance, polynomial_powers
from photometry.psf_stars import FWHM_PER_SIGMA
from photometry.subtraction.sides import exposure_of

SHAPE = (500, 500)


def psf_of(image, stars):
    exposure = exposure_of(image, stars)
    return build_psf(exposure.plate, exposure.stars)


def true_stamp(skies, half, fwhm, axis=1.0):
    n = 2 * half + 1
    stamp = skies.render([half], [half], [1.0], (n, n), skies.Exposure(fwhm, axis=axis))
    return stamp / stamp.sum()


@pytest.mark.parametrize("fwhm", [2.2, 3.5, 6.0])
def test_the_model_is_the_stars_own(skies, fwhm):
    x, y, flux = skies.field(140, SHAPE, 4)
    image = skies.expose(skies.render(x, y, flux, SHAPE, skies.Exposure(fwhm)), skies.Exposure(fwhm), 1)
    psf = psf_of(image, skies.star_list(x, y, flux))
    truth = true_stamp(skies, psf.half, fwhm)
    for place in ((250, 250), (60, 400)):
        stamp = psf.at(*place)
        assert stamp.sum() == pytest.approx(1.0, abs=1e-6)
        assert np.abs(stamp - truth).max() < 0.08 * truth.max()
    assert psf.planes[0].sum() == pytest.approx(1.0)
    assert len(psf.planes) == len(psf.powers_u) == len(psf.powers_v)


def test_a_gradient_of_the_seeing_is_followed(skies):
    x, y, flux = skies.field(400, SHAPE, 4)
    light = sum(
        skies.render([a], [b], [f], SHAPE, skies.Exposure(4.0 + 1.5 * a / 500)) for a, b, f in zip(x, y, flux, strict=True)
    )
    psf = psf_of(skies.expose(light, skies.Exposure(), 2), skies.star_list(x, y, flux))
    left, right = (FWHM_PER_SIGMA * np.linalg.det(psf.covariance(a, 250)) ** 0.25 for a in (50, 450))
    assert right - left == pytest.approx(1.2, abs=0.5)


def test_galaxies_and_cosmic_rays_are_not_stars(skies):
    rng = np.random.default_rng(1)
    x, y, flux = skies.field(40, SHAPE, 9, faint=3000)
    gx, gy = rng.uniform(20, 480, (2, 60))
    light = skies.render(x, y, flux, SHAPE, skies.Exposure(3.5))
    light += skies.render(gx, gy, np.full(60, 2e4), SHAPE, skies.Exposure(7.0))
    image = skies.expose(light, skies.Exposure(3.5), 3)
    cx, cy = rng.integers(20, 480, (2, 12))
    image.data[cy, cx] += 5000
    lists = [np.concatenate(v) for v in ((x, gx, cx), (y, gy, cy), (flux, np.full(60, 2e4), np.full(12, 5e3)))]
    psf = psf_of(image, skies.star_list(*lists))
    truth = true_stamp(skies, psf.half, 3.5)
    assert np.abs(psf.at(250, 250) - truth).max() < 0.1 * truth.max()


def test_masked_stars_do_not_count(skies):
    x, y, flux = skies.field(80, SHAPE, 4)
    image = skies.expose(skies.render(x, y, flux, SHAPE, skies.Exposure(4.0)), skies.Exposure(4.0), 1)
    image.mask[:] = Bit.BAD
    with pytest.raises(SubtractionFailedError, match="no unmasked star among"):
        psf_of(image, skies.star_list(x, y, flux))


def test_the_core_covariance_knows_the_axes():
    half = 12
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1]
    stamp = np.exp(-0.5 * (xx**2 / 4.0 + yy**2 / 2.25))
    np.testing.assert_allclose(core_covariance(stamp), [[4.0, 0.0], [0.0, 2.25]], atol=0.08)


def test_powers_start_with_the_constant():
    assert polynomial_powers(2) == [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
