"""Sums, widths and centroids of single sources against sep's."""

import numpy as np
import pytest
import sep

from photometry.loops.apertures import CUT, MASKED, ellipse_of, half_light_radius, kron_radius, sum_ellipse
from photometry.loops.sources import Frame, Near, measure_sources
from photometry.mask import Bit
from photometry.score import HIDDEN

SHAPES = [(3.0, 2.0, 0.4), (6.0, 1.2, -1.2), (2.0, 2.0, 0.0), (8.0, 7.0, 1.5)]
PLACES = [(30.31, 25.83), (3.02, 40.23), (56.63, 2.41), (31.52, 58.93)]


@pytest.fixture(scope="module")
def planes():
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:60, :64]
    data = rng.normal(5, 1, (60, 64)) + sum(300 * np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / 4) for a, b in PLACES)
    mask = np.zeros(data.shape, np.uint16)
    mask[rng.uniform(size=data.shape) < 0.02] = Bit.BAD
    mask[20, 20] = Bit.SATURATED  # which does not hide a pixel
    return data.astype(np.float32), rng.uniform(1, 2, data.shape).astype(np.float32), mask


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", PLACES)
def test_sums_in_ellipses(planes, shape, place):
    data, variance, mask = planes
    if place != PLACES[0]:  # what is cut by the border is compared where nothing is hidden
        mask = np.zeros_like(mask)
    hidden = (mask & HIDDEN) != 0
    for r in (0.7, 1.5, 3.0):
        light, error, flags = sum_ellipse(data, variance, mask, HIDDEN, *place, ellipse_of(*shape), r)
        expected = sep.sum_ellipse(data, *([v] for v in (*place, *shape)), r, var=variance, mask=hidden, subpix=5)
        np.testing.assert_allclose([light, error], [expected[0][0], expected[1][0]], rtol=2e-5)
        assert flags & MASKED == expected[2][0] & MASKED
        if expected[2][0] & CUT:  # sep lets half a pixel beyond the border pass
            assert flags & CUT


@pytest.mark.parametrize("shape", SHAPES)
def test_kron_radii(planes, shape):
    data, _, mask = planes
    for place in PLACES:
        radius, _ = kron_radius(data, mask, HIDDEN, *place, ellipse_of(*shape), 3.0)
        columns = ([v] for v in (*place, *shape))
        expected, _ = sep.kron_radius(data, *columns, 3.0, mask=(mask & HIDDEN) != 0)
        assert radius == pytest.approx(expected[0], rel=1e-4)


def test_what_is_wholly_hidden_has_no_light(planes):
    data, variance, _ = planes
    mask = np.full(data.shape, Bit.BAD, np.uint16)
    light, error, flags = sum_ellipse(data, variance, mask, HIDDEN, 30.0, 30.0, ellipse_of(2, 2, 0), 2.0)
    assert np.isnan([light, error]).all()
    assert flags & MASKED
    assert half_light_radius(data, mask, HIDDEN, 30.0, 30.0, 6.0, 1.0) == 0


@pytest.mark.parametrize("sigma", [0.8, 1.7, 4.0])
def test_half_light_is_that_of_a_gaussian(sigma):
    y, x = np.mgrid[:81, :81]
    data = np.exp(-0.5 * ((x - 40.3) ** 2 + (y - 39.6) ** 2) / sigma**2).astype(np.float32)
    free = np.zeros(data.shape, np.uint16)
    radius = half_light_radius(data, free, HIDDEN, 40.3, 39.6, 5 * sigma, sigma / 3)
    assert radius == pytest.approx(np.hypot(1.1774 * sigma, 0.35), rel=0.05)  # the pixels widen it


@pytest.mark.parametrize("sigma", [0.9, 1.7, 3.0])
def test_centroids_are_sep_s(sigma):
    rng = np.random.default_rng(4)
    x, y = (v.ravel() for v in np.meshgrid(np.arange(30, 500, 40.0), np.arange(30, 500, 40.0)))
    x, y = x + rng.uniform(-0.5, 0.5, x.size), y + rng.uniform(-0.5, 0.5, x.size)
    rows, columns = np.mgrid[:520, :520]
    data = rng.normal(0, 1, rows.shape)
    for a, b in zip(x, y, strict=True):
        part = np.s_[int(b) - 20 : int(b) + 21, int(a) - 20 : int(a) + 21]
        data[part] += 200 * np.exp(-0.5 * ((columns[part] - a) ** 2 + (rows[part] - b) ** 2) / sigma**2)
    data = data.astype(np.float32)
    shapes = np.stack([x + 0.3, y - 0.2, *(np.full(x.size, v) for v in (1.2 * sigma, sigma, 0.0))], axis=1)
    out, flags = np.zeros((x.size, 7)), np.zeros(x.size, np.int32)
    frame = Frame(data, np.ones_like(data), np.zeros(data.shape, np.uint16), HIDDEN)
    alone = np.zeros(x.size, bool)
    measure_sources(frame, shapes, Near(alone, alone), 2.3548 * sigma, np.array([5.0]), out, flags)
    their_x, their_y, _ = sep.winpos(data, shapes[:, 0], shapes[:, 1], out[:, 2] / 2.3548)
    ours, theirs = np.std(out[:, 0] - x), np.std(their_x - x)
    assert ours == pytest.approx(theirs, rel=0.05)
    assert np.abs(out[:, 1] - their_y).max() < 0.5 * theirs
    np.testing.assert_allclose(out[:, 5], sep.sum_circle(data, out[:, 0], out[:, 1], 5.0, subpix=5)[0], rtol=1e-4)
