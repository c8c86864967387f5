"""The true signal-to-noise ratio is what an ideal filter measures."""

import numpy as np
import pytest

from skysim.optics import Psf, stamp
from skysim.settings import NightSettings
from skysim.truth import FrameTruth, TargetTruth, difference_snr, own_noise, read_truth, write_truth

SIZE = 129
HALF = SIZE // 2


def psf_of(fwhm):
    return stamp(Psf(fwhm), HALF, HALF, (SIZE, SIZE), HALF)


@pytest.mark.parametrize(("fwhm_science", "fwhm_template"), [(4.5, 3.2), (3.5, 3.5), (3.0, 4.2)])
def test_snr_is_that_of_a_numerical_matched_filter(fwhm_science, fwhm_template):
    # science minus template convolved with K, P_t * K = P_s; whitened and correlated with its PSF
    var_s, var_t, scale, flux = 600.0, 300.0, 0.9, 4_000.0
    p_s, p_t = (np.fft.fft2(np.fft.ifftshift(psf_of(f))) for f in (fwhm_science, fwhm_template))
    kernel = scale * p_s / p_t
    power = var_s + np.abs(kernel) ** 2 * var_t
    rng = np.random.default_rng(7)

    def filtered(science, template):
        difference = np.fft.fft2(science) - kernel * np.fft.fft2(template)
        return np.fft.ifft2(difference * np.conj(p_s) / power).real

    noise = [filtered(rng.normal(0, var_s**0.5, (SIZE, SIZE)), rng.normal(0, var_t**0.5, (SIZE, SIZE))) for _ in range(12)]
    peak = filtered(flux * np.fft.ifft2(p_s).real, np.zeros((SIZE, SIZE)))[0, 0]
    truth = difference_snr(flux, psf_of(fwhm_science), psf_of(fwhm_template), var_s, var_t, scale)
    assert truth == pytest.approx(peak / np.std(noise), rel=0.03)


def test_perfect_template_leaves_the_science_frames_own_snr():
    psf = psf_of(4.0)
    expected = 1_000 * np.sqrt((psf**2).sum() / 500)
    assert difference_snr(1_000, psf, psf_of(3.0), 500, 0, 1) == pytest.approx(expected, rel=1e-6)


def test_snr_has_the_fluxs_sign():
    psf = psf_of(4.0)
    assert difference_snr(-1_000, psf, psf, 500, 100, 1) == -difference_snr(1_000, psf, psf, 500, 100, 1) < 0


def test_own_noise_is_what_the_matched_filter_sees():
    psf, flux, background = psf_of(3.5), 20_000.0, 600.0
    rng = np.random.default_rng(5)
    norm = (psf**2).sum()
    measured = [(psf * (rng.poisson(background + flux * psf) - background)).sum() / norm for _ in range(800)]
    assert np.var(measured) == pytest.approx((background + own_noise(psf, flux)) / norm, rel=0.12)


def test_truth_is_read_back_as_written(tmp_path):
    target = TargetTruth(1.25, 2.5, 3.0, 4.0, -17.5, -3.25)
    frame = FrameTruth("a.fits", 61212.5, 3.5, 0.9, 400.0, 1.0, -2.0, 0.1, {"supernova": target})
    write_truth([frame], NightSettings(), tmp_path)
    assert read_truth(tmp_path) == [frame]
    from astropy.table import Table

    row = Table.read(tmp_path / "truth.ecsv")[0]
    assert (row["frame"], row["target"], row["x"], row["snr"]) == ("a.fits", "supernova", 1.25, -3.25)
