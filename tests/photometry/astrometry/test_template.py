"""The template rung: a solution carried over by the registration, and refined."""

import time

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from photometry.astrometry import AstrometrySettings, Known, carry, solve
from photometry.errors import AstrometryFailedError
from photometry.registration import Transform, register
from tests.photometry.astrometry.fields import STARS, Field, misses, shuffled, simulate, wcs_of

SHAPE = (1000, 1200)


def seen(truth, wcs, noise=0.02, seed=5):
    """A frame of the catalog's stars through another WCS."""
    rows = truth.catalog.rows
    near = np.hypot((rows["ra"] - 10.0) * np.cos(np.deg2rad(rows["dec"])), rows["dec"] + 70.0) < 1
    x, y = wcs.all_world2pix(np.stack([rows["ra"][near], rows["dec"][near]], axis=1), 0).T
    on = (x > 0) & (x < SHAPE[1] - 1) & (y > 0) & (y < SHAPE[0] - 1)
    rng = np.random.default_rng(seed)
    stars = np.zeros(on.sum(), STARS)
    stars["x"], stars["y"] = x[on] + rng.normal(0, noise, on.sum()), y[on] + rng.normal(0, noise, on.sum())
    stars["flux"] = 10 ** (-0.4 * (rows["mag"][near][on] - 25))
    return stars


@pytest.mark.parametrize("stars", [40, 600])
def test_a_turned_and_shifted_frame_gets_the_templates_solution(stars):
    """The template's distortion stays where there are too few stars to find it again."""
    truth = simulate(Field(10.0, -70.0, 0.0, bend=6.0, stars=stars))
    wcs = wcs_of(Field(10.03, -70.01, 2.0, bend=6.0))
    science = seen(truth, wcs)
    transform = register(science, truth.stars, SHAPE, SHAPE)
    solution = carry(science, SHAPE, Known(truth.wcs, truth.stars, transform), AstrometrySettings(2.0))
    miss = misses(solution.header, wcs, SHAPE)
    assert np.median(miss) < 0.05
    assert miss.max() < (0.05 if stars > 100 else 0.5)
    assert solution.rung == "template"
    assert solution.rms_pixels < 0.04


def identity(shape):
    ny, nx = shape
    cx, cy = np.array([[(nx - 1) / 2, (nx - 1) / 2], [0.0, 0.0]]), np.array([[(ny - 1) / 2, 0.0], [(ny - 1) / 2, 0.0]])
    return Transform(cx, cy, shape, identity=True, stars=0, rms_pixels=0.0)


@pytest.mark.parametrize("seed", range(20))
def test_shuffled_stars_are_not_carried(seed):
    truth = simulate(Field(stars=300))
    known = Known(truth.wcs, truth.stars, identity(SHAPE))
    with pytest.raises(AstrometryFailedError):
        carry(shuffled(truth.stars, seed), SHAPE, known, AstrometrySettings(2.0))


def test_a_template_of_another_place_leaves_it_to_the_catalog():
    truth = simulate(Field(stars=80))
    strangers = Known(truth.wcs, shuffled(truth.stars, 1), identity(SHAPE))
    solution = solve(truth.stars, SHAPE, 2000.0, AstrometrySettings(2.0), strangers, truth.catalog, (121.0, 31.0))
    assert solution.rung == "catalog"
    with pytest.raises(AstrometryFailedError, match=r"template: .*catalog: "):
        solve(shuffled(truth.stars, 2), SHAPE, 2000.0, AstrometrySettings(2.0), strangers, truth.catalog, (121.0, 31.0))


def test_38_thousand_stars_take_a_third_of_a_second():
    truth = simulate(Field(stars=38_000, shape=(4000, 4000), spurious=0.0, lost=0.0, bend=5.0), reach=1.7)
    known = Known(truth.wcs, truth.stars, identity((4000, 4000)))
    took = []
    for _ in range(2):
        start = time.process_time()
        solution = carry(truth.stars, (4000, 4000), known, AstrometrySettings(2.0))
        took.append(time.process_time() - start)
    assert solution.stars > 35_000
    assert min(took) < 0.6  # twice the promise, for shared machines


def test_a_tpv_header_is_read_for_a_template(data):
    """Values of the header of a frame with TPV, carried over onto itself as SIP."""
    header = fits.getheader(data / "wcs_images/ctio_mosaic_tpv_stamp.fits.gz")
    wcs = WCS(header)
    rng = np.random.default_rng(3)
    stars = np.zeros(200, STARS)
    stars["x"], stars["y"], stars["flux"] = rng.uniform(0, 511, 200), rng.uniform(0, 511, 200), rng.uniform(1, 2, 200)
    scale = float(np.sqrt(wcs.proj_plane_pixel_area().to_value("arcsec2")))
    solution = carry(stars, (512, 512), Known(wcs, stars, identity((512, 512))), AstrometrySettings(scale))
    assert misses(solution.header, wcs, (512, 512)).max() < 0.01
