"""Forced fluxes of a difference: against plain numpy, and their pulls."""

import numpy as np
import pytest
from scipy import ndimage

from photometry.psf import PsfModel
from photometry.stars.forced import forced_fluxes
from skysim.optics import Psf, stamp

SHAPE = (200, 220)


@pytest.fixture(scope="module")
def psf():
    pixels = stamp(Psf(3.0), 100, 100, SHAPE, 10)
    return PsfModel(np.stack([pixels / pixels.sum(), np.zeros_like(pixels)]), (0, 1), (0, 0), SHAPE)


def test_it_is_the_weighted_sum(psf, threads):
    rng = np.random.default_rng(1)
    variance = rng.uniform(80, 400, SHAPE).astype(np.float32)
    data = rng.normal(0, np.sqrt(variance)).astype(np.float32)
    useless = rng.random(SHAPE) < 0.03
    x, y = rng.uniform(20, 180, (2, 40))
    flux, error = forced_fluxes(data, variance, useless, psf, x, y, np.inf, threads, 1.3)
    for a, b, f, e in zip(x, y, flux, error, strict=True):
        xi, yi = round(a), round(b)
        moved = ndimage.shift(np.pad(psf.planes[0], 8), (b - yi, a - xi), order=5, mode="mirror")[8:-8, 8:-8]
        window = (slice(yi - 10, yi + 11), slice(xi - 10, xi + 11))
        weight = np.where(useless[window], 0, moved / variance[window])
        assert f == pytest.approx((weight * data[window]).sum() / (weight * moved).sum(), rel=1e-4, abs=1e-3)
        assert e == pytest.approx(np.sqrt(1.3 / (weight * moved).sum()), rel=1e-5)


def test_pulls_are_of_unit_width_negative_fluxes_too(psf, threads, robust):
    rng = np.random.default_rng(2)
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(15, 205, 14.0), np.arange(15, 185, 14.0)))
    pulls = []
    for seed in range(4):
        x, y = x + rng.uniform(-0.3, 0.3, len(x)), y + rng.uniform(-0.3, 0.3, len(y))
        truth = np.random.default_rng(seed).uniform(-3e3, 3e3, len(x))
        light = np.zeros(SHAPE)
        for a, b, f in zip(x, y, truth, strict=True):
            light[round(b) - 10 : round(b) + 11, round(a) - 10 : round(a) + 11] += f * ndimage.shift(
                psf.planes[0], (b - round(b), a - round(a)), order=5
            )
        data = (light + rng.normal(0, 12, SHAPE) + rng.normal(0, 1, SHAPE) * np.sqrt(light.clip(0))).astype(np.float32)
        blank = np.full(SHAPE, 144, np.float32)
        flux, error = forced_fluxes(data, blank, np.zeros(SHAPE, bool), psf, x, y, 1.0, threads)
        pulls.append((flux - truth) / error)
    assert robust(np.concatenate(pulls)) == pytest.approx(1.0, abs=0.12)
    assert abs(np.median(np.concatenate(pulls))) < 0.15


def test_nan_off_the_frame_and_behind_the_mask(psf, threads):
    data, variance, useless = np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32), np.zeros(SHAPE, bool)
    useless[90:111, 90:111] = True
    flux, error = forced_fluxes(
        data, variance, useless, psf, np.array([100.0, -5, np.nan, 50]), np.array([100.0, 5, 5, 50]), 1.0, threads
    )
    assert np.isnan(flux).tolist() == np.isnan(error).tolist() == [True, True, True, False]
