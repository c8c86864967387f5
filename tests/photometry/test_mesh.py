"""Slopes reach the frame's border, and the sky is that between the sources."""

import numpy as np
import pytest

from photometry.background import subtract_background
from photometry.image import Image
from photometry.loops.light import LIT, flag_light
from photometry.mesh import extended, mended
from photometry.settings import Settings
from skysim.optics import Psf, draw


def test_a_plane_goes_on_to_the_borders():
    ny, nx, side = 200, 330, 32
    # the last cell reaches to the end
    y, x = (np.arange(n // side) * side + (side - 1) / 2 for n in (ny, nx))
    y[-1], x[-1] = ((n // side - 1) * side / 2 + (n - 1) / 2 for n in (ny, nx))
    nodes = (5 + 0.1 * y[:, None] - 0.2 * x).astype(np.float32)
    rows, columns = np.mgrid[:ny, :nx]
    mesh = extended(mended(nodes), side, (ny, nx))
    np.testing.assert_allclose(mesh.window(0, ny, 0, nx), 5 + 0.1 * rows - 0.2 * columns, atol=1e-3)
    np.testing.assert_allclose(mesh.window(50, 60, 70, 99), mesh.window(0, ny, 0, nx)[50:60, 70:99], atol=1e-5)


def test_odd_and_unknown_nodes_are_mended():
    nodes = np.full((6, 6), 3.0, np.float32)
    nodes[2, 3], nodes[5, 5] = np.nan, 100
    assert (mended(nodes) == 3).all()
    assert (extended(np.full((1, 1), 2.0, np.float32), 64, (20, 30)).window(0, 20, 0, 30) == 2).all()


def test_light_is_flagged_with_what_is_round_it_and_noise_is_not():
    rng = np.random.default_rng(1)
    above = rng.normal(0, 2, (64, 202)).astype(np.float32)
    above[28:32, 100:104] += 6
    bits = np.zeros(above.shape, np.uint8)
    flag_light(above, bits, np.full(3, 2.0, np.float32), 64)
    assert (bits[24:36, 96:108] == LIT).all()
    assert np.mean(bits != 0) < 0.05


@pytest.mark.parametrize(("kind", "most"), [("empty", 0.01), ("rich", 0.02), ("slope", 0.01), ("vignette", 0.02)])
def test_the_sky_s_bias(kind, most):
    """In sigmas of a pixel, over the whole frame; and in no piece of it more than noise and a few stars explain."""
    n, rng = 1024, np.random.default_rng(3)
    y, x = np.mgrid[:n, :n] / n - 0.5
    sky = 300 * (1 + 0.5 * x * (kind == "slope") - 0.3 * (x**2 + y**2) * (kind == "vignette"))
    light = np.zeros((n, n))
    count = {"empty": 0, "rich": n * n // 800}.get(kind, n * n // 2500)
    draw(light, rng.uniform(0, n, count), rng.uniform(0, n, count), 1000 * rng.uniform(size=count) ** -1.4, Psf(4.0))
    data = (rng.poisson(light + sky) + rng.normal(0, 6, (n, n))).astype(np.float32)
    image = Image(data, data + np.float32(36), np.zeros((n, n), np.uint16), "electron", 1.0, 6.0, np.inf)
    left, background = subtract_background(image, Settings(), keep_variance=True)
    miss = (data - left.data - sky) / np.sqrt(336)
    assert abs(miss.mean()) < most
    assert np.abs(miss.reshape(16, 64, 16, 64).mean(axis=(1, 3))).max() < 0.2
    assert background.median_rms == pytest.approx(np.sqrt(np.median(sky) + 36), rel=0.03)
