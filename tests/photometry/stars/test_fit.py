"""Stars fitted by the PSF: against scipy and photutils, in blends, behind masks, at the border, where nothing is."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import ndimage, optimize

from photometry.loops.spline import blend, brush, draw_stamp
from photometry.mask import Bit
from photometry.psf import PsfModel
from photometry.stars.fit import StarFlag, fit_stars, sky_variance_at, spline_of
from photometry.stars.groups import LARGEST_GROUP, friends
from skysim.optics import stamp

FWHM = 3.2


def true_psf(field, half=12):
    """The stars' own PSF, one for the whole frame."""
    ny, nx = field.image.shape
    pixels = stamp(field.psf, nx / 2, ny / 2, (ny, nx), half)
    return PsfModel(pixels[None] / pixels.sum(), (0,), (0,), (ny, nx))


STEADY = {"width_slopes": (0.0, 0.0, 0.0), "ellipticity_slope": 0.0}


def quintic(psf, dx, dy, half):
    """The reference: ndimage's splines of the padded stamp."""
    ny, nx = psf.shape
    padded = np.pad(psf.at(nx / 2, ny / 2), 12)
    middle = padded.shape[0] // 2
    yy, xx = np.mgrid[-half : half + 1, -half : half + 1].astype(float)
    return ndimage.map_coordinates(padded, [yy - dy + middle, xx - dx + middle], order=5, mode="mirror")


@hypothesis_settings(max_examples=25, deadline=None)
@given(st.floats(-1.4, 1.4), st.floats(-1.4, 1.4))
def test_the_moved_stamp_and_its_slopes_are_the_spline_s(dx, dy):
    rng = np.random.default_rng(5)
    psf = PsfModel(ndimage.gaussian_filter(rng.random((1, 21, 21)), (0, 2, 2)), (0,), (0,), (60, 70))
    spline = spline_of(psf, 9)
    half = 7
    tools = brush(half, 2)
    blend(spline, 35.0, 30.0, tools.block)
    draw_stamp(dx, dy, tools, True)
    out = tools.stamp[:, :, : 2 * half + 1]
    np.testing.assert_allclose(out[0], quintic(psf, dx, dy, half), atol=1e-6)
    step = 1e-4
    for k, (a, b) in enumerate(((step, 0), (0, step)), start=1):
        slope = (quintic(psf, dx + a, dy + b, half) - quintic(psf, dx - a, dy - b, half)) / (2 * step)
        np.testing.assert_allclose(out[k], slope, atol=1e-6)


def test_one_star_is_scipy_s_least_squares(fields, threads):
    field = fields[1]([30.3], [28.8], [3000.0], FWHM, (60, 60), 3, **STEADY)
    psf = true_psf(field)
    fitted = fit_stars(field.image, psf, np.array([30.0]), np.array([29.0]), threads).stars[0]
    half = int(np.ceil(1.5 * psf.fwhm))
    data = field.image.data[29 - half : 29 + half + 1, 30 - half : 30 + half + 1]

    def model(p):
        return p[0] * quintic(psf, p[1] - 30, p[2] - 29, half)

    best = np.array([fitted["flux"], fitted["x"], fitted["y"]])
    sky = sky_variance_at(field.image, np.array([30.0]), np.array([29.0]))[0]
    sigma = np.sqrt(sky + np.maximum(model(best), 0))
    found, covariance, *_ = optimize.leastsq(
        lambda p: ((model(p) - data) / sigma).ravel(), [2500.0, 30, 29], full_output=True
    )
    errors = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(best, found, atol=0.02 * errors.min())
    assert abs(best - found)[0] < 0.005 * errors[0]
    np.testing.assert_allclose([fitted["flux_err"], fitted["x_err"], fitted["y_err"]], errors, rtol=0.01)
    assert fitted["flags"] == 0


def test_photutils_says_the_same(fields, threads):
    """With the same PSF, pixels and weights: to a thousandth of the error."""
    from astropy.table import Table
    from photutils.psf import ImagePSF, PSFPhotometry

    field = fields[0](FWHM, (220, 220), apart=8.0, flux=(3.5, 5.0), **STEADY)
    psf = true_psf(field)
    stars = fit_stars(field.image, psf, np.rint(field.x), np.rint(field.y), threads)
    oversampling = 5
    fine = np.zeros((2 * psf.half * oversampling + 1,) * 2)
    grid = np.arange(fine.shape[0]) / oversampling + 12
    padded = np.pad(psf.planes[0], 12)
    fine = ndimage.map_coordinates(padded, np.meshgrid(grid, grid, indexing="ij"), order=5, mode="mirror")
    error = np.sqrt(436.0 + np.maximum(stars.model, 0))
    init = Table({"x_init": np.rint(field.x), "y_init": np.rint(field.y), "flux_init": field.flux})
    side = 2 * int(np.ceil(1.5 * psf.fwhm)) + 1
    photometry = PSFPhotometry(ImagePSF(fine, oversampling=oversampling), (side, side), aperture_radius=4)
    theirs = photometry(field.image.data.astype(float), error=error, init_params=init)
    pull = (stars.stars["flux"] - theirs["flux_fit"]) / stars.stars["flux_err"]
    assert np.abs(pull).max() < 0.02
    assert np.median(np.abs(pull)) < 1e-3
    np.testing.assert_allclose(theirs["flux_err"], stars.stars["flux_err"], rtol=0.01)


@pytest.mark.parametrize("apart", [0.7, 1.0, 1.6, 2.5])
def test_blends_are_unbiased(fields, threads, robust, apart):
    rng = np.random.default_rng(9)
    grid = np.arange(30, 660, 35.0)
    x, y = (axis.ravel() + rng.uniform(-0.5, 0.5, axis.size) for axis in np.meshgrid(grid, grid))
    angle = rng.uniform(0, 2 * np.pi, len(x))
    x, y = np.append(x, x + apart * FWHM * np.cos(angle)), np.append(y, y + apart * FWHM * np.sin(angle))
    flux = np.append(np.full(len(angle), 2e4), np.full(len(angle), 8e3))
    field = fields[1](x, y, flux, FWHM, (700, 700), 4, **STEADY)
    stars = fit_stars(field.image, true_psf(field, 20), x, y, threads).stars
    for part in (slice(0, len(angle)), slice(len(angle), None)):
        pull = ((stars["flux"] - flux) / stars["flux_err"])[part]
        assert abs(np.median(pull)) < 0.3
        assert robust(pull) == pytest.approx(1.0, abs=0.2)
    assert ((stars["flags"] & int(StarFlag.BLENDED)) != 0).all() == (apart < 1.2)


def test_masked_pixels_and_the_border_cost_light_but_no_truth(fields, threads):
    field = fields[1]([40.0, 80.0, 119.2, 20.0], [40.0, 40.0, 40.0, 80.0], [2e4] * 4, FWHM, (110, 120), 5, **STEADY)
    image = field.image
    image.data[38, 41] = 5e4
    image.mask[38, 41] = Bit.COSMIC_RAY
    image.data[79:82, 19:22] = 3e3
    image.mask[79:82, 19:22] = Bit.SATURATED
    stars = fit_stars(image, true_psf(field), field.x, field.y, threads).stars
    flags = [StarFlag(int(flag)) for flag in stars["flags"]]
    assert flags == [
        StarFlag.MASKED,
        StarFlag(0),
        StarFlag.EDGE,
        StarFlag.MASKED | StarFlag.SATURATED | StarFlag.NO_FIT,
    ] or (flags[3] == StarFlag.MASKED | StarFlag.SATURATED)
    assert (np.abs(stars["flux"] - 2e4) < 4.5 * stars["flux_err"])[:3].all()
    assert stars["flux_err"][2] > 1.1 * stars["flux_err"][1]


def test_where_nothing_is_the_flux_is_nothing_with_its_error(fields, threads):
    field = fields[1]([300.0], [300.0], [1.0], FWHM, (600, 600), 6, **STEADY)
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(15.0, 590, 15), np.arange(15.0, 590, 15)))
    stars = fit_stars(field.image, true_psf(field), x, y, threads).stars
    held = (stars["flags"] & int(StarFlag.PLACE_HELD)) != 0
    assert held.sum() > 0.5 * len(x)
    assert (stars["flux"] < 0).sum() > 0.3 * len(x)
    assert np.isnan(stars["x_err"][held]).all()
    np.testing.assert_array_equal(stars["x"][held], x[held])
    expected = np.sqrt(436 / (true_psf(field).planes[0] ** 2).sum())
    assert np.median(stars["flux_err"]) == pytest.approx(expected, rel=0.05)


def test_off_the_frame_there_is_no_fit(fields, threads):
    field = fields[1]([30.0], [30.0], [1e4], FWHM, (60, 60), 1, **STEADY)
    stars = fit_stars(field.image, true_psf(field), np.array([-3.0, 30, np.nan]), np.array([5.0, 30, 5]), threads).stars
    assert np.isnan(stars["flux"]).tolist() == [True, False, True]
    assert stars["flags"][0] == stars["flags"][2] == StarFlag.NO_FIT


def test_no_star_is_no_row(fields, threads):
    field = fields[1]([30.0], [30.0], [1e4], FWHM, (60, 60), 1, **STEADY)
    assert len(fit_stars(field.image, true_psf(field), np.zeros(0), np.zeros(0), threads).stars) == 0


def test_threads_do_not_change_a_bit(fields, threads):
    rng = np.random.default_rng(2)
    x, y = rng.uniform(5, 250, (2, 300))
    field = fields[1](x, y, 10 ** rng.uniform(3, 5, 300), FWHM, (256, 256), 2, **STEADY)
    psf = true_psf(field)

    class Alone:
        def map(self, function, *columns):
            return [function(*row) for row in zip(*columns, strict=True)]

    one, two = (fit_stars(field.image, psf, x, y, pool) for pool in (Alone(), threads))
    assert one.stars.tobytes() == two.stars.tobytes()
    np.testing.assert_array_equal(one.model, two.model)


def test_noise_is_not_weighed_by_itself(fields, threads):
    """A variance made of the noisy data itself, and one made of the model, give the same stars."""
    field = fields[0](FWHM, (500, 500), apart=8.0, flux=(2.8, 3.2), **STEADY)
    psf = true_psf(field)
    noisy = replace(field.image, variance=np.maximum(field.image.data + 436, 1).astype(np.float32))
    true, raw = (fit_stars(image, psf, field.x, field.y, threads).stars for image in (field.image, noisy))
    assert abs(np.median((raw["flux"] - true["flux"]) / true["flux_err"])) < 0.02


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.integers(0, 200), st.floats(0.5, 30.0), st.integers(0, 1000))
def test_groups_hold_every_star_once_and_are_small(n, link, seed):
    x, y = np.random.default_rng(seed).uniform(0, 100, (2, n))
    members, starts = friends(x, y, link)
    assert sorted(members.tolist()) == list(range(n))
    assert (np.diff(starts) <= LARGEST_GROUP).all()
    assert n == 0 or (np.diff(starts) > 0).all()


def test_places_that_are_one_are_groups_of_one():
    members, starts = friends(np.zeros(20), np.zeros(20), 3.0)
    assert len(members) == 20
    assert (np.diff(starts) == 1).all()
