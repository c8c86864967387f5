"""Halos round bright cores: as far as the wing is seen, in each direction, and no farther."""

import numpy as np
from scipy import ndimage

from photometry.loops.rings import REACH_PIXELS, distance_to, halo_reach

SHAPE = (420, 300)
STAR = (200, 150)  # row, column


def ring(distance, wing=0.0, seed=3):
    """(halo, distance from the star): a star's core of 8 px, its wing as sigmas at `distance` falling with the cube."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    r = np.hypot(y - STAR[0], x - STAR[1])
    core = r < 8
    resid = np.random.default_rng(seed).normal(0, 1, SHAPE) + wing * (distance / np.maximum(r, 1)) ** 3
    distance = np.empty(SHAPE, np.float32)
    distance_to(core.astype(np.uint8), distance)
    reach = halo_reach(resid.astype(np.float32), (~core).astype(np.uint8), distance, *map(float, STAR), 0)
    return distance <= reach, r


def test_a_wing_is_covered_as_far_as_a_psf_would_take_it_for_light():
    halo, r = ring(24, wing=0.4)
    assert halo[(r < 24) & (r > 9)].mean() > 0.95
    assert not halo[r > REACH_PIXELS + 9].any()


def test_without_a_wing_next_to_nothing_is_lost():
    lost = [ring(24, seed=seed)[0].sum() - np.pi * 8**2 for seed in range(12)]
    assert np.median(lost) < 300
    assert max(lost) < 3000


def test_distances_are_those_to_the_nearest_pixel_of_the_core():
    core = np.zeros((40, 50), np.uint8)
    core[10:14, 20:27] = 1
    core[12, 27:30] = 1
    found = np.empty(core.shape, np.float32)
    distance_to(core, found)
    np.testing.assert_allclose(found, ndimage.distance_transform_edt(core == 0), rtol=1e-6)
