"""The engine against plain numpy, exact and on whole planes: the difference, its variance, its score."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from photometry.mask import BAD_BITS
from photometry.subtraction import reference, subtract
from photometry.subtraction.planes import Planes
from photometry.subtraction.solve import frame_uv
from photometry.subtraction.sweep import doubled, sky_of, sweep
from photometry.subtraction.window import variance_of

SHAPE = (420, 441)


@pytest.fixture(scope="module", params=["template", "science", "both"])
def difference(skies, request):
    """The convolved frame is the parameter; odd sizes, a bad column, a PSF that changes over the frame."""
    widths = {"template": (5.0, 3.5, 1.0), "science": (3.5, 5.0, 1.0), "both": (4.2, 4.2, 1.3)}
    fwhm, other, axis = widths[request.param]
    science, template = skies.Exposure(fwhm, 0.8, gain=1.5, axis=axis), skies.Exposure(other, gain=6.0)
    x, y, flux = skies.field(150, SHAPE, 5, faint=800, margin=20)
    first = skies.expose(skies.render(x, y, flux, SHAPE, science), science, 11)
    second = skies.expose(skies.render(x, y, flux, SHAPE, template), template, 12)
    first.data[:, 300], second.data[100:, 60] = np.nan, np.nan
    inside = (x > 3) & (x < SHAPE[1] - 4) & (y > 3) & (y < SHAPE[0] - 4)
    stars = skies.star_list(x[inside], y[inside], flux[inside])
    return subtract(first, second, stars, stars)


@pytest.fixture(scope="module")
def planes(difference):
    """(target, source, variances of the two) on whole planes; the source's is not scaled."""
    job = difference.swept.job
    whole = (0, SHAPE[0], 0, SHAPE[1])
    target, source = (plate.window(*whole)[0] for plate in (job.target, job.source))
    light = reference.convolve_varying(source, job.kernel.planes, job.kernel.powers)
    shown = target if job.science_convolved else light
    own = variance_of(shown, job.target.noise.window(*whole), job.target.gain)
    through = variance_of(source, job.source.noise.window(*whole), job.source.gain)
    if job.wide is not None:
        target = reference.convolve_local(target, lambda _x, _y: job.wide, job.wide.shape[0] // 2)
    return target, light, own, through


def test_the_difference_is_that_of_the_exact_kernel(difference, planes):
    target, light, own, _ = planes
    job = difference.swept.job
    with ThreadPoolExecutor(2) as threads:
        data = sweep(job, Planes.in_memory(SHAPE), threads).planes.data
    u, _ = frame_uv(SHAPE, np.arange(SHAPE[1]), np.zeros(1))
    sky = sky_of(job.kernel, SHAPE, 0, SHAPE[0])
    scale = job.scales(0, SHAPE[0]) @ np.stack([np.ones_like(u), u])
    exact = (target - light - sky @ u[None, :] ** np.arange(sky.shape[1])[:, None]) / scale
    sigma = job.factor * np.sqrt(own)
    # the kernel of a block is that of its middle
    assert np.abs((data - exact) / sigma).max() < 0.05 + 0.01 * (light / np.sqrt(own)).max()
    assert np.median(np.abs((data - exact) / sigma)) < 1e-3


def test_the_variance_is_that_of_the_squared_kernel(difference, planes):
    _, _, own, through = planes
    exact = reference.difference_variance(own, through, difference.optics) * difference.swept.job.factor**2
    ratio = difference.planes.variance / exact
    assert np.median(np.abs(ratio - 1)) < 0.015  # light of 2 x 2 pixels, whose noise differs
    assert np.percentile(np.abs(ratio - 1), 99) < 0.25  # 2 x 2 pixels share one, also on a star's flank


def test_the_score_is_that_of_the_exact_filters(difference, planes):
    _, _, own, through = planes
    job = difference.swept.job
    bad = (difference.planes.mask & int(BAD_BITS)) != 0
    own, through = own * np.float32(job.factor**2), through * np.float32((job.factor * job.kernel.kernel_sum) ** 2)
    exact = reference.score_map(difference.planes.data, bad, own, through, difference.optics)
    assert (difference.score[bad] == 0).all()
    off = np.abs(difference.score - exact)[~bad]
    assert np.percentile(off, 99) < 0.2
    assert off.max() < 0.05 * np.abs(exact).max() + 0.3
    assert np.median(off) < 0.02


def test_what_is_twice_as_coarse_is_spread_to_pairs_of_pixels():
    coarse = np.arange(12.0, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(doubled(coarse, 1, 5, 3, 7), np.kron(coarse, np.ones((2, 2)))[1:5, 3:7])
