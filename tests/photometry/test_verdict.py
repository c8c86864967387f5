"""What is said of a frame as a whole, word by word."""

import numpy as np
import pytest

from photometry.psf import PsfModel
from photometry.stars.brightness import MEASURED, POOR, Brightness
from photometry.stars.psf import PsfQuality
from photometry.verdict import CROWDED, FEW, HITS, UNLIKE, of_stars, of_width

SIDE, FWHM = 200, 4.0


def words(sources=50, *, psf_stars=50, residual=0.01, ellipticity=0.05, hole=False):
    y, x = np.mgrid[-10:11, -10:11]
    r2 = x**2 + y**2
    light = np.exp(-r2 / 6.0) * (r2 if hole else 1)
    psf = PsfModel(light[None] / light.sum(), (0,), (0,), (SIDE, SIDE))
    quality = PsfQuality(psf_stars, 1.0, residual, FWHM, (FWHM, FWHM), ellipticity)
    found = of_stars(sources, Brightness(np.zeros(sources, MEASURED), psf, quality, None, None))
    assert all(why for _, why in found)
    return [word for word, _ in found]


def test_a_good_frame_has_no_flag():
    assert words() == []


def test_few_sources_are_said_with_and_without_a_psf():
    assert words(FEW - 1, psf_stars=1) == ["few_stars"]
    assert [word for word, _ in of_stars(FEW - 1, None)] == ["few_stars"]
    assert of_stars(FEW, None) == []


@pytest.mark.parametrize("psf_stars", [FEW - 1, FEW])
def test_hits_of_particles_are_no_stars(psf_stars):
    assert words(9, psf_stars=psf_stars, residual=UNLIKE + 0.01) == ["few_stars"]
    assert words(9, psf_stars=psf_stars, residual=UNLIKE - 0.01) == ["poor_psf"]


def test_a_psf_that_describes_many_stars_badly_is_poor():
    assert words(psf_stars=HITS, residual=UNLIKE + 0.01) == ["poor_psf"]
    assert words(residual=POOR + 0.01) == ["poor_psf"]
    assert words(residual=POOR - 0.01) == []


def test_trails_and_holes():
    assert words(ellipticity=0.7) == ["trailed"]
    assert words(hole=True) == ["out_of_focus"]


def test_crowded_is_a_matter_of_room_for_each_star():
    most = int(SIDE**2 / FWHM**2 / CROWDED)
    assert words(most + 1) == ["crowded"]
    assert words(most) == []


def test_stars_far_wider_than_the_templates_are_out_of_focus():
    assert [word for word, _ in of_width(9.0, 3.0)] == ["out_of_focus"]
    assert of_width(7.0, 3.0) == []
    assert of_width(float("nan"), 3.0) == []
