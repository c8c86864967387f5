"""All stars of real frames: the crowded bulge in every seeing, without failure and with little left."""

import numpy as np
import pytest

from photometry.frame import read_frame
from photometry.grow import grow
from photometry.mask import WORTHLESS
from photometry.measure import measure
from photometry.settings import Settings
from photometry.stars.aperture import aperture_fluxes, measure_growth
from photometry.stars.fit import StarFlag, fit_stars
from photometry.stars.psf import measure_psf
from photometry.threads import start_threads

FRAMES = (1, 13, 28)


@pytest.mark.parametrize("n", FRAMES)
def test_the_crowded_bulge_is_fitted_clean(data, n):
    path = data / "saao_kb13475_june" / "light" / f"AKB13475I{n:04d}.fits.fz"
    found = measure(read_frame(path), Settings())
    with start_threads() as threads:
        psf, quality = measure_psf(found.image, found.stars, threads)
        fits = fit_stars(found.image, psf, found.stars["x"], found.stars["y"], threads)
    assert quality.stars > 20
    assert quality.residual < 0.03
    stars = fits.stars
    fitted = np.isfinite(stars["flux"])
    assert fitted.mean() > 0.9
    assert ((stars["flags"] & int(StarFlag.NOT_CONVERGED)) != 0).mean() < 0.02
    # only where stars were found: of a bulge the larger part is fainter than that
    places = np.zeros(found.image.shape, bool)
    rows, columns = (np.rint(stars[name][fitted]).astype(int).clip(0, 511) for name in ("y", "x"))
    places[rows, columns] = True
    cores = grow(places, round(psf.fwhm)) & ((found.image.mask & int(WORTHLESS)) == 0)
    before, left = (np.abs(plane[cores]).sum() for plane in (found.image.data, found.image.data - fits.model))
    assert left < 0.25 * before
    growth = measure_growth(found.image, psf, fits)
    flux, _, cut = aperture_fluxes(found.image, psf, fits, growth)
    bright = ~cut & (stars["flags"] == 0) & (stars["flux"] > 100 * stars["flux_err"])
    ratio = flux[bright] / (stars["flux"] * growth.psf_correction(stars["x"], stars["y"]))[bright]
    assert abs(np.median(ratio) - 1) < 0.01
