"""One interpolation that keeps flux, never spreads NaN, and says what lies outside."""

import numpy as np
import pytest

from photometry.image import Image
from photometry.mask import Bit
from photometry.registration import Transform
from photometry.resample import resample

SHAPE = (200, 240)


def transform(shift=(0.0, 0.0), scale=1.0):
    ny, nx = SHAPE
    hx, hy = (nx - 1) / 2, (ny - 1) / 2
    cx = np.array([[hx + shift[0], scale * hx], [0.0, 0.0]])
    cy = np.array([[hy + shift[1], 0.0], [scale * hy, 0.0]])
    return Transform(cx, cy, SHAPE, identity=False, stars=9, rms_pixels=0.0)


def image(data, variance=4.0):
    data = np.asarray(data, np.float32)
    return Image(data, np.full(SHAPE, variance, np.float32), np.zeros(SHAPE, np.uint16), "adu", 2.0, 5.0, 6e4)


@pytest.mark.parametrize(("shift", "scale"), [((13.37, -8.61), 1.0), ((3.5, 2.5), 0.94), ((0.0, 0.0), 1.06)])
def test_a_star_keeps_its_place_and_flux(skies, shift, scale):
    x, y, flux = np.array([120.3]), np.array([97.8]), np.array([1e5])
    move = transform(shift, scale)
    X, Y = move(x, y)
    light = skies.render(X, Y, flux, SHAPE, skies.Exposure(4.0)).astype(np.float32)
    out = resample(image(light), light, move)
    truth = skies.render(x, y, flux, SHAPE, skies.Exposure(4.0 / scale))
    assert out.data.sum() == pytest.approx(truth.sum(), rel=2e-3)
    assert np.abs(out.data - truth).max() < 1e-2 * truth.max()  # pixels of two sizes


def test_variance_is_carried_not_squared_away():
    out = resample(image(np.zeros(SHAPE)), np.zeros(SHAPE, np.float32), transform((0.5, 0.5)))
    assert np.allclose(out.variance[10:-10, 10:-10], 4.0)
    out = resample(image(np.zeros(SHAPE)), np.zeros(SHAPE, np.float32), transform(scale=0.9))
    assert np.allclose(out.variance[20:-20, 20:-20], 4.0 * 0.81, rtol=1e-4)


def test_bad_pixels_stay_where_they_are():
    frame = image(np.ones(SHAPE))
    frame.mask[100, 120] = Bit.BAD
    frame.variance[100, 120] = np.nan
    out = resample(frame, np.ones(SHAPE, np.float32), transform((10.5, 0.0)))
    assert np.isfinite(out.data).all()
    assert np.isfinite(out.variance).all()
    assert set(zip(*np.nonzero(out.mask & int(Bit.BAD)), strict=True)) <= {(y, x) for y in (99, 100) for x in (109, 110)}
    assert out.mask[100, 109] & Bit.BAD


def test_beyond_the_template_is_edge_and_zero():
    out = resample(image(np.ones(SHAPE)), np.ones(SHAPE, np.float32), transform((30.0, 0.0)))
    assert (out.mask[:, -29:] & int(Bit.EDGE)).all()
    assert not out.data[:, -29:].any()
    assert not (out.mask[5:-5, 5:-40] & int(Bit.EDGE)).any()
