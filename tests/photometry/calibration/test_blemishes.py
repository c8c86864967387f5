"""Cosmic rays and trails on simulated skies, and on real ones."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from photometry.calibration import mark_blemishes
from photometry.frame import read_frame
from photometry.image import Image
from photometry.mask import Bit

SIGMA = 20.0
FWHM_SIGMA = 1.5


@pytest.fixture(scope="module")
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


def sky(side: int, seed: int, stars: int = 600) -> np.ndarray:
    rng = np.random.default_rng(seed)
    data = 400 + SIGMA * rng.standard_normal((side, side), np.float32)
    y, x = np.mgrid[-9:10, -9:10]
    for a, b, flux in zip(*rng.uniform(10, side - 10, (2, stars)), 10 ** rng.uniform(2.7, 5.3, stars), strict=True):
        i, j = int(a), int(b)
        shape = np.exp(-((x + i - a) ** 2 + (y + j - b) ** 2) / 2 / FWHM_SIGMA**2)
        data[j - 9 : j + 10, i - 9 : i + 10] += flux / (2 * np.pi * FWHM_SIGMA**2) * shape
    return data


def image(data: np.ndarray) -> Image:
    variance = np.full(data.shape, SIGMA**2, np.float32)
    return Image(data.astype(np.float32), variance, np.zeros(data.shape, np.uint16), "electron", 1.0, 0.0, 1e9)


def trail(side: int, angle: float, peak: float, length: float) -> tuple[np.ndarray, np.ndarray]:
    """The light of a trail through near the middle, and where it is."""
    y, x = np.mgrid[:side, :side]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    along, across = (x - side * 0.45) * c + (y - side * 0.52) * s, (y - side * 0.52) * c - (x - side * 0.45) * s
    here = np.abs(along) < length / 2
    return np.where(here, peak * SIGMA * np.exp(-(across**2) / 2 / FWHM_SIGMA**2), 0), here & (np.abs(across) < 2)


@pytest.mark.parametrize(
    ("angle", "peak", "length"), [(5, 1.0, 500), (40, 1.0, 2000), (88, 1.5, 2000), (120, 1.0, 700), (-30, 40.0, 2000)]
)
def test_a_trail_is_found_from_a_sigma_a_pixel_on(threads, angle, peak, length):
    light, there = trail(800, angle, peak, length)
    frame = image(sky(800, 1) + light)
    found = mark_blemishes(frame, threads)
    assert len(found.trails) == 1
    flagged = (frame.mask & Bit.TRAIL) != 0
    assert np.mean(flagged[there]) > 0.85
    assert flagged.sum() < 8 * there.sum()
    assert found.trail_pixels == flagged.sum()


@pytest.mark.parametrize("seed", range(3))
def test_stars_alone_are_no_trail(threads, seed):
    assert mark_blemishes(image(sky(700, seed, 1500)), threads).trails == ()


def test_a_bad_column_is_no_trail(threads):
    data = sky(600, 1)
    data[:, 300:302] += 60
    data[200, :] += 80
    assert mark_blemishes(image(data), threads).trails == ()


def test_cosmic_rays_are_flagged_and_stars_are_not(threads):
    data = sky(500, 1, 200)
    rng = np.random.default_rng(8)
    clean = image(data.copy())
    places = rng.integers(10, 490, (40, 2))
    for y, x in places:
        data[y, x : x + 2] += 4000
    struck = image(data)
    assert mark_blemishes(clean, threads).cosmic_ray_pixels == 0
    mark_blemishes(struck, threads)
    assert sum(bool(struck.mask[y, x] & Bit.COSMIC_RAY) for y, x in places) >= 38


def test_stars_that_were_not_followed_are_no_trails(threads, data):
    frame = read_frame(data / "wcs_images" / "lco_banzai_trailed_frame.fits.fz").image
    found = mark_blemishes(frame, threads)
    assert found.trails == ()
    assert found.trailed
    assert found.elongation > 4


@pytest.mark.parametrize(
    "name",
    [
        "lowell42_5945/light/20190326.0136.fits.fz", "saao_kb13475_june/light/AKB13475I0028.fits.fz",
        "eaba_eso085_null_pair/aligned_eso085-030-004.fits.fz", "wcs_images/panoptes_solved.fits.fz",
    ],
)  # fmt: skip
def test_real_frames_without_trails(threads, data, name):
    found = mark_blemishes(read_frame(data / name).image, threads)
    assert found.trails == ()
    assert not found.trailed
