"""Three photometries of isolated stars against the truth: to 2 mmag at the bright end, with the noise that theory allows."""

import numpy as np
import pytest

from photometry.background import subtract_background
from photometry.detection import detect
from photometry.settings import Settings
from photometry.stars.agreement import agreement
from photometry.stars.aperture import aperture_fluxes, measure_growth
from photometry.stars.fit import fit_stars
from photometry.stars.magnitudes import MAG_PER_LN
from photometry.stars.psf import measure_psf
from skysim.optics import stamp

FWHM = (2.5, 4.0, 8.0)


@pytest.fixture(scope="module", params=FWHM)
def measured(request, fields, threads):
    fwhm = request.param
    field = fields[0](fwhm, (round(170 * fwhm) + 200,) * 2, apart=8.0)
    _, sky = subtract_background(field.image, Settings(), keep_variance=True)
    psf, quality = measure_psf(field.image, detect(field.image, sky, Settings()), threads)
    rng = np.random.default_rng(3)
    off = rng.normal(0, 0.15, (2, len(field.x)))
    fits = fit_stars(field.image, psf, field.x + off[0], field.y + off[1], threads)
    return field, psf, quality, fits, measure_growth(field.image, psf, fits)


def test_the_bright_end_is_true_to_two_millimagnitudes(measured, robust):
    field, _, _, fits, growth = measured
    bright = field.flux > 5e4
    total = fits.stars["flux"] * growth.psf_correction(field.x, field.y)
    off = MAG_PER_LN * np.log(total / field.flux)[bright]
    allowed = MAG_PER_LN * (fits.stars["flux_err"] / fits.stars["flux"])[bright]
    assert abs(np.median(off)) < 0.002
    assert robust(off) < 1.2 * np.hypot(0.002, np.median(allowed))
    place = np.hypot(fits.stars["x"] - field.x, fits.stars["y"] - field.y)[field.flux > 2e5]
    assert np.median(place) < 0.02


def test_pulls_are_of_unit_width(measured, robust):
    field, _, _, fits, growth = measured
    stars = fits.stars
    faint = field.flux < 3e4
    flux = stars["flux"] * growth.psf_correction(field.x, field.y)
    for value, truth, error in (
        (flux, field.flux, stars["flux_err"]),
        (stars["x"], field.x, stars["x_err"]),
        (stars["y"], field.y, stars["y_err"]),
    ):
        pull = ((value - truth) / error)[faint]
        assert robust(pull) == pytest.approx(1.0, abs=4 / np.sqrt(faint.sum()))


def test_the_noise_is_what_theory_allows(measured):
    """Cramer and Rao: 1 / sum over all pixels of P^2 / V for a flux whose place is known."""
    field, _, _, fits, _ = measured
    ny, nx = field.image.shape
    whole = stamp(field.psf, nx / 2, ny / 2, (ny, nx), 40)
    middle = np.hypot(field.x - nx / 2, field.y - ny / 2) < nx / 4
    sky = 400.0 + field.image.read_noise**2
    bound = np.array([1 / np.sqrt((whole**2 / (sky + f * whole)).sum()) for f in field.flux[middle]])
    ratio = fits.stars["flux_err"][middle] / fits.stars["flux"][middle] * field.flux[middle] / bound
    assert np.median(ratio) < 1.15
    assert np.median(ratio) > 0.98


def test_aperture_and_psf_agree(measured):
    field, psf, _, fits, growth = measured
    flux, error, cut = aperture_fluxes(field.image, psf, fits, growth)
    assert not cut.any()
    tied = growth.psf_correction(field.x, field.y)
    found = agreement(flux, error, fits.stars["flux"] * tied, fits.stars["flux_err"] * tied)
    assert found.agrees, found.reason
    assert abs(found.offset) < 0.002
    bright = field.flux > 5e4
    assert abs(np.median(MAG_PER_LN * np.log(flux / field.flux)[bright])) < 0.002


def test_the_quality_says_what_the_psf_is(measured):
    field, _, quality, _, _ = measured
    assert quality.stars > 50
    assert quality.chi2 == pytest.approx(1.0, abs=0.15)
    assert quality.residual < 0.01
    assert quality.ellipticity == pytest.approx(0.036, abs=0.02)
    low, high = quality.fwhm_range
    assert (
        1.0
        < low / field.psf.fwhm_pixels
        < quality.fwhm / field.psf.fwhm_pixels + 0.01
        < high / field.psf.fwhm_pixels + 0.02
        < 1.4
    )


def test_the_growth_curve_rises_to_one(measured):
    *_, growth = measured
    shares = growth.shares
    assert shares[-1] == 1.0
    assert (np.diff(shares) > -1e-3).all()
    assert 0.3 < shares[growth.best] < 0.95
