"""Frames of stars with known truth, drawn where they are with a PSF that changes over the frame."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest

from photometry.image import Image
from skysim.optics import Psf, draw

SKY, READ_NOISE = 400.0, 6.0


@dataclass(frozen=True)
class Field:
    """image: without its sky, electrons; x, y, flux of its stars; psf: that they were drawn with."""

    image: Image
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    psf: Psf


def grid_field(fwhm, shape=(700, 700), apart=10.0, flux=(3.3, 5.7), seed=1, **optics):
    """Stars on a jittered grid, `apart` FWHM from each other, fluxes even in their logarithm."""
    rng = np.random.default_rng(seed)
    ny, nx = shape
    step = apart * fwhm
    x, y = (grid.ravel() for grid in np.meshgrid(np.arange(step, nx - step / 2, step), np.arange(step, ny - step / 2, step)))
    x, y = x + rng.uniform(-0.1, 0.1, len(x)) * step, y + rng.uniform(-0.1, 0.1, len(x)) * step
    return place(x, y, 10 ** rng.uniform(*flux, len(x)), fwhm, shape, seed, **optics)


def place(x, y, flux, fwhm, shape, seed, **optics):
    """A frame of these stars with the noise of their photons, the sky's and the read-out's."""
    rng = np.random.default_rng(seed + 1000)
    psf = Psf(fwhm, **({"e1": 0.03, "e2": -0.02} | optics))
    light = np.zeros(shape)
    draw(light, x, y, flux, psf)
    data = rng.poisson(light + SKY) - SKY + rng.normal(0, READ_NOISE, shape)
    variance = (light + SKY + READ_NOISE**2).astype(np.float32)
    image = Image(data.astype(np.float32), variance, np.zeros(shape, np.uint16), "electron", 1.0, READ_NOISE, 1e9)
    return Field(image, np.asarray(x), np.asarray(y), np.asarray(flux), psf)


@pytest.fixture(scope="session")
def threads():
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(scope="session")
def fields():
    """The makers, for tests that want a field of their own."""
    return grid_field, place


@pytest.fixture(scope="session")
def listed():
    """A field's stars as a detection lists them."""
    return as_listed


def as_listed(field):
    """The stars as a detection lists them."""
    stars = np.zeros(len(field.x), [(name, "f8") for name in ("x", "y", "flux", "flux_err", "peak")] + [("flags", "i4")])
    stars["x"], stars["y"], stars["flux"], stars["flux_err"] = field.x, field.y, field.flux, np.sqrt(field.flux + 4e4)
    stars["peak"] = field.flux / (1.2 * field.psf.fwhm_pixels**2)
    return stars[np.argsort(-stars["flux"])]


def width(values):
    """Robust standard deviation."""
    return 1.4826 * np.median(np.abs(values - np.median(values)))


@pytest.fixture(scope="session")
def robust():
    return width
