"""Template plus difference, a third photometry of the stars: it says what the other two say, or the reason why not."""

from dataclasses import replace

import numpy as np
import pytest

from photometry.psf import PsfModel
from photometry.registration import Transform
from photometry.stars.aperture import aperture_fluxes, measure_growth
from photometry.stars.fit import fit_stars
from photometry.stars.magnitudes import MAG_PER_LN
from photometry.stars.psf import measure_psf
from photometry.stars.sums import carried_psf, isolated, judge, summed_fluxes
from photometry.subtraction import subtract

SHAPE = (600, 600)
SCALE = 1.7  # adu of the template for one of the science frame
# fwhm of the science frame and of the template, degrees between them, which frame is convolved
PAIRS = {
    "sharper template": (4.0, 3.4, 0.0, "template", False),
    "sharper science frame": (3.4, 4.2, 0.0, "science", False),
    "equally sharp": (4.0, 3.98, 0.0, "template", True),
    "turned template": (4.0, 3.4, 4.0, "template", False),
}


def turned(x, y, degrees):
    """Places about the frame's middle, and a shift of some pixels."""
    if not degrees:
        return x, y
    a, mx, my = np.radians(degrees), (SHAPE[1] - 1) / 2, (SHAPE[0] - 1) / 2
    c, s = np.cos(a), np.sin(a)
    return mx + c * (x - mx) - s * (y - my) + 3.3, my + s * (x - mx) + c * (y - my) - 2.6


@pytest.fixture(scope="module", params=PAIRS)
def pair(request, fields, listed, threads):
    """(science, its totals by aperture and PSF, sum of template and difference as a function of a wrong scale, change)."""
    grid_field, place = fields
    wide, narrow, degrees, convolved, preconvolved = PAIRS[request.param]
    science = grid_field(wide, SHAPE, 7.0, (3.7, 5.3), seed=5)
    change = np.zeros(len(science.x))
    change[::6] = 0.3 * science.flux[::6]
    there = turned(science.x, science.y, degrees)
    seen = np.all([(axis > 0) & (axis < n - 1) for axis, n in zip(there, SHAPE[::-1], strict=True)], axis=0)
    template = place(there[0][seen], there[1][seen], SCALE * (science.flux - change)[seen], narrow, SHAPE, 6)
    difference = subtract(science.image, template.image, listed(science), listed(template))
    assert (difference.convolved, difference.preconvolved) == (convolved, preconvolved)
    science_psf, _ = measure_psf(science.image, listed(science), threads)
    template_psf, _ = measure_psf(template.image, listed(template), threads)
    fits = fit_stars(science.image, science_psf, science.x, science.y, threads)
    matched = fit_stars(template.image, template_psf, *there, threads).stars
    growth = measure_growth(science.image, science_psf, fits)
    tie = growth.psf_correction(science.x, science.y)
    aperture, aperture_err, _ = aperture_fluxes(science.image, science_psf, fits, growth)

    def fluxes(wrong=1.0):
        given = replace(difference, kernel_sum=wrong * difference.kernel_sum)
        flux, error = summed_fluxes(
            matched["flux"], matched["flux_err"], science_psf, template_psf, given, science.x, science.y, threads
        )
        return {
            "aperture": (aperture, aperture_err),
            "PSF": (fits.stars["flux"] * tie, fits.stars["flux_err"] * tie),
            "template + difference": (flux * tie, error * tie),
        }

    return science, fluxes, change, isolated(fits.stars, science_psf.fwhm)


def test_three_photometries_agree_to_two_millimagnitudes(pair):
    science, fluxes, _, alone = pair
    found = judge(fluxes(), alone & (science.flux > 2e4))
    assert found.agrees, found.reason
    assert found.reason == ""
    assert len(found.pairs) == 3
    assert max(abs(each.offset) for each in found.pairs.values()) < 0.002


def test_what_changed_is_in_the_sum(pair):
    """Stars a third brighter than on the template: as bright as their science flux says."""
    science, fluxes, change, alone = pair
    both = fluxes()
    chosen = alone & (change != 0) & (science.flux > 2e4) & np.isfinite(both["template + difference"][0])
    off = MAG_PER_LN * np.log(both["template + difference"][0] / both["PSF"][0])[chosen]
    assert chosen.sum() > 15
    assert abs(np.median(off)) < 0.002


def test_the_error_is_what_the_sum_scatters_by_or_more(pair, robust):
    science, fluxes, change, alone = pair
    flux, error = fluxes()["template + difference"]
    faint = alone & (science.flux < 3e4) & (change == 0) & np.isfinite(flux)
    assert 0.5 < robust(((flux - science.flux) / error)[faint]) < 1.1


def test_a_wrong_flux_scale_is_the_reason(pair):
    science, fluxes, _, alone = pair
    found = judge(fluxes(1.01), alone & (science.flux > 2e4))
    assert not found.agrees
    assert found.reason.startswith("aperture less template + difference: offset of +")
    assert found.pairs["aperture less PSF"].agrees
    assert found.pairs["PSF less template + difference"].offset == pytest.approx(0.0099, abs=0.002)


def test_too_few_stars_to_judge_by_is_said(pair):
    science, fluxes, *_ = pair
    found = judge(fluxes(), np.arange(len(science.x)) < 3)
    assert not found.agrees
    assert "bright stars, 5 are needed" in found.reason


def test_the_template_s_psf_is_turned_and_stretched_as_its_stars_are():
    """A template a quarter turn off, with 1.25 of its pixels to one of the science frame's."""
    yy, xx = np.mgrid[-12:13, -12:13]
    stamp = np.exp(-0.5 * (xx**2 / 3.0**2 + yy**2 / 2.0**2))
    psf = PsfModel((stamp / stamp.sum())[None], (0,), (0,), SHAPE)
    half = 1.25 * (SHAPE[0] - 1) / 2  # template pixels from the middle to the border
    across, down = np.array([[300.0, 0.0], [-half, 0.0]]), np.array([[300.0, half], [0.0, 0.0]])
    carried = carried_psf(psf, Transform(across, down, SHAPE, identity=False, stars=9, rms_pixels=0.0), 300.0, 300.0)
    assert carried.sum() == pytest.approx(1, abs=1e-3)
    widths = [np.sqrt((carried * axis**2).sum() / carried.sum()) for axis in (xx, yy)]
    assert widths == pytest.approx([2.0 / 1.25, 3.0 / 1.25], rel=0.02)
