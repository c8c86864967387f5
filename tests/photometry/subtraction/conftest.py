"""Frames with known truth for the tests of subtraction: Moffat stars, rendered where they are, nothing resampled."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from photometry.image import Image

BETA = 3.5
STARS = np.dtype([("x", "f8"), ("y", "f8"), ("flux", "f8")])


@dataclass(frozen=True)
class Exposure:
    """What a frame is taken with: fwhm pixels, flux scale, sky and noise; axis: y width over x width."""

    fwhm: float = 4.0
    scale: float = 1.0
    sky: float = 300.0
    gain: float = 2.0
    read_noise: float = 5.0
    axis: float = 1.0


def star_list(x, y, flux):
    stars = np.zeros(len(x), STARS)
    stars["x"], stars["y"], stars["flux"] = x, y, flux
    return stars[np.argsort(-stars["flux"])]


def field(n, shape, seed, faint=300.0, margin=0.0, bright=2e5):
    """n stars, N(> F) ~ F^-0.6, over a frame and `margin` pixels round it."""
    rng = np.random.default_rng(seed)
    ny, nx = shape
    x, y = rng.uniform(-margin, nx + margin, n), rng.uniform(-margin, ny + margin, n)
    return x, y, np.minimum(faint * rng.uniform(0, 1, n) ** (-1 / 0.6), bright)


def render(x, y, flux, shape, exposure):
    """Noiseless light of Moffat stars (four samples a pixel)."""
    ny, nx = shape
    out = np.zeros(shape)
    alpha = exposure.fwhm / (2 * np.sqrt(2 ** (1 / BETA) - 1))
    for a, b, f in zip(x, y, flux, strict=True):
        r = int(min(12 * alpha, 45))
        x0, x1 = max(0, int(a) - r), min(nx, int(a) + r + 1)
        y0, y1 = max(0, int(b) - r), min(ny, int(b) + r + 1)
        if x0 >= x1 or y0 >= y1:
            continue
        total = 0.0
        for sy in (-0.25, 0.25):
            for sx in (-0.25, 0.25):
                dx = (np.arange(x0, x1) - a + sx)[None, :] * np.sqrt(exposure.axis)
                dy = (np.arange(y0, y1) - b + sy)[:, None] / np.sqrt(exposure.axis)
                total = total + (1 + (dx**2 + dy**2) / alpha**2) ** -BETA
        out[y0:y1, x0:x1] += f * exposure.scale * (BETA - 1) / (np.pi * alpha**2) * total / 4
    return out


def expose(light, exposure, seed):
    """Noise, the sky taken off again, and the variance that a header would give."""
    rng = np.random.default_rng(seed)
    electrons = rng.poisson((light + exposure.sky) * exposure.gain) + rng.normal(0, exposure.read_noise, light.shape)
    raw = (electrons / exposure.gain).astype(np.float32)
    variance = np.maximum(raw, 0) / exposure.gain + (exposure.read_noise / exposure.gain) ** 2
    mask = np.zeros(light.shape, np.uint16)
    return Image(
        raw - np.float32(exposure.sky), variance.astype(np.float32), mask, "adu", exposure.gain, exposure.read_noise, 6e4
    )


@pytest.fixture(scope="session")
def skies():
    return SimpleNamespace(Exposure=Exposure, star_list=star_list, field=field, render=render, expose=expose)
