"""Light falls where the truth says, and all of it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skysim.optics import Pointing, Psf, draw, stamp

SHAPE = (201, 201)


def centroid(image):
    rows, cols = np.indices(image.shape)
    return (cols * image).sum() / image.sum(), (rows * image).sum() / image.sum()


@given(
    x=st.floats(98, 102),
    y=st.floats(98, 102),
    fwhm=st.floats(2.5, 5.5),
    e1=st.floats(-0.1, 0.1),
    e2=st.floats(-0.1, 0.1),
)
@settings(max_examples=25, deadline=None)
def test_source_falls_where_it_is_told_with_all_its_flux(x, y, fwhm, e1, e2):
    image = np.zeros(SHAPE)
    draw(image, x, y, 1e6, Psf(fwhm, e1, e2))
    assert image.sum() == pytest.approx(1e6, rel=2e-3)
    assert centroid(image) == pytest.approx((x, y), abs=0.02)


@pytest.mark.parametrize("electrons", [1_500, 2e4, 1e6])
def test_wing_left_out_is_within_the_promise(electrons):
    image = np.zeros(SHAPE)
    draw(image, 100.2, 99.7, electrons, Psf(3.5))
    assert image.sum() == pytest.approx(electrons, rel=6e-3)


def test_fwhm_is_the_width_at_half_the_peak():
    # finely sampled, so that the pixel does not widen it
    profile = stamp(Psf(40.0, width_slopes=(0, 0, 0), ellipticity_slope=0), 100, 100, SHAPE, 60)[60]
    above = np.flatnonzero(profile >= profile.max() / 2)
    assert above.size == pytest.approx(40, abs=1)


def test_psf_varies_over_the_field():
    psf = Psf(3.5)
    alpha, e1, _ = psf.shape_at([0, 200], [0, 200], SHAPE)
    assert 0.005 < abs(alpha[1] / alpha[0] - 1) < 0.1
    assert e1[1] > e1[0]


def test_ellipticity_lengthens_along_its_axis():
    pixels = stamp(Psf(6.0, e1=0.1, ellipticity_slope=0), 100, 100, SHAPE, 20)
    assert pixels[20, 25] > 1.05 * pixels[25, 20]


@given(dx=st.floats(-30, 30), dy=st.floats(-30, 30), rotation=st.floats(-5, 5))
@settings(max_examples=30, deadline=None)
def test_pointing_turns_about_the_centre_then_shifts(dx, dy, rotation):
    point = Pointing(dx, dy, rotation)
    assert point.to_frame(100, 100, SHAPE) == pytest.approx((100 + dx, 100 + dy))
    x, y = point.to_frame(180, 100, SHAPE)
    assert (x - 100 - dx, y - 100 - dy) == pytest.approx(
        (80 * np.cos(np.radians(rotation)), 80 * np.sin(np.radians(rotation)))
    )
