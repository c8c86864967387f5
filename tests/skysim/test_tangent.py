"""The projection is what its header says, everywhere on the sky."""

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from skysim.sphere.tangent import Projection

SHAPE = (1000, 1200)

places_on_sky = {
    "ra": st.floats(0, 359.999),
    "dec": st.one_of(st.floats(-90, 90), st.sampled_from([-90.0, -89.999, -89.5, 0.0, 89.5, 90.0])),
    "rotation": st.floats(-180, 180),
    "mirrored": st.booleans(),
    "distortion": st.floats(-5, 5),
}


def pixels():
    rng = np.random.default_rng(1)
    return rng.uniform(-0.5, 1199.5, 60), rng.uniform(-0.5, 999.5, 60)


@given(**places_on_sky)
@settings(max_examples=60, deadline=None)
def test_astropy_reads_the_header_as_it_is_meant(ra, dec, rotation, mirrored, distortion):
    there = Projection(SHAPE, ra, dec, 3.0, rotation, mirrored, distortion)
    x, y = pixels()
    on_sky = there.to_sky(x, y)
    back = WCS(there.header()).all_world2pix(*on_sky, 0, tolerance=1e-7)
    assert np.abs(back - np.stack([x, y])).max() < 1e-5


@given(**places_on_sky)
@settings(max_examples=60, deadline=None)
def test_there_and_back(ra, dec, rotation, mirrored, distortion):
    there = Projection(SHAPE, ra, dec, 3.0, rotation, mirrored, distortion)
    x, y = pixels()
    assert np.abs(np.stack(there.to_pixels(*there.to_sky(x, y))) - np.stack([x, y])).max() < 1e-6


def test_rotation_and_parity_are_the_ones_of_the_docstring():
    up = Projection(SHAPE, 40.0, -30.0, 1.0)
    x, y = up.to_pixels([40.0, 40.01], [-29.99, -30.0])
    assert (x[0], y[0]) == pytest.approx((599.5, 499.5 + 36), abs=1e-3)  # north is up
    assert x[1] < 599.5 - 30  # east is to the left
    assert Projection(SHAPE, 40.0, -30.0, 1.0, mirrored=True).to_pixels(40.01, -30.0)[0] > 599.5 + 30
    turned = Projection(SHAPE, 40.0, -30.0, 1.0, rotation_degrees=90.0)
    x, y = turned.to_pixels(40.01, -30.0)
    assert (x, y) == pytest.approx((599.5, 499.5 + 36 * np.cos(np.radians(30))), abs=0.01)  # east is up


def test_distortion_is_so_many_pixels_in_the_corner():
    plain, bent = Projection(SHAPE, 1.0, 2.0, 1.0), Projection(SHAPE, 1.0, 2.0, 1.0, distortion_pixels=4.0)
    corner = plain.to_pixels(*bent.to_sky(1199.0, 999.0))
    assert np.hypot(corner[0] - 599.5, corner[1] - 499.5) - np.hypot(599.5, 499.5) == pytest.approx(4.0, abs=1e-6)


def test_the_other_side_of_the_sky_is_nowhere():
    assert np.isnan(Projection(SHAPE, 10.0, 20.0, 1.0).to_pixels([190.0, 10.0], [-20.0, -75.0])).all()


def test_circle_holds_the_detector():
    there = Projection(SHAPE, 0.0, -90.0, 30.0, distortion_pixels=3.0)
    _, dec = there.to_sky([-0.5, 1199.5, -0.5, 1199.5], [-0.5, -0.5, 999.5, 999.5])
    assert (90 + dec).max() < there.radius_degrees < (90 + dec).max() * 1.01
