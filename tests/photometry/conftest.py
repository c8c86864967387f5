"""Small skies with known truth, for the tests of photometry."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from photometry.image import Image

GAIN, READ_NOISE = 1.5, 6.0


@dataclass(frozen=True)
class Sky:
    """data (ny, nx) float32 in adu with sky and noise; x, y, flux of its stars; fwhm in pixels."""

    data: np.ndarray
    x: np.ndarray
    y: np.ndarray
    flux: np.ndarray
    fwhm: float

    def image(self) -> Image:
        variance = (np.maximum(self.data, 0) / GAIN + (READ_NOISE / GAIN) ** 2).astype(np.float32)
        return Image(self.data.copy(), variance, np.zeros(self.data.shape, np.uint16), "adu", GAIN, READ_NOISE, 65000.0)

    def write(self, path: Path, **cards: object) -> Path:
        hdu = fits.PrimaryHDU(np.clip(self.data, 0, 65535).round().astype(np.uint16))
        hdu.header.update({"GAIN": GAIN, "RDNOISE": READ_NOISE, "SATURATE": 60000.0, "EXPTIME": 60.0})
        hdu.header.update({"DATE-OBS": "2026-06-21T03:14:15", **cards})
        hdu.writeto(path)
        return path


SkyMaker = Callable[..., Sky]


@pytest.fixture(scope="session")
def make_sky() -> SkyMaker:
    def make(
        shape: tuple[int, int] = (256, 320), stars: int = 60, fwhm: float = 3.5, level: float = 500.0, seed: int = 1,
        field: int = 7, flux: tuple[float, float] = (3.0, 5.0), pedestal: float = 0.0, apart: float = 0.0,
    ) -> Sky:  # fmt: skip
        """`field` fixes where the stars are and how bright, `seed` the noise; `apart`: least distance of two stars."""
        where = np.random.default_rng(field)
        ny, nx = shape
        places: list[tuple[float, float]] = []
        while len(places) < stars:
            x, y = where.uniform(8, nx - 9), where.uniform(8, ny - 9)
            if all(np.hypot(x - a, y - b) > apart for a, b in places):
                places.append((x, y))
        x, y = np.array(places).T if stars else (np.zeros(0), np.zeros(0))
        brightness = 10 ** where.uniform(*flux, stars)
        light = np.full(shape, float(level))
        sigma = fwhm / 2.3548
        reach = int(5 * sigma) + 1
        for a, b, f in zip(x, y, brightness, strict=True):
            y0, y1 = max(0, int(b) - reach), min(ny, int(b) + reach + 1)
            x0, x1 = max(0, int(a) - reach), min(nx, int(a) + reach + 1)
            gy = np.exp(-0.5 * ((np.arange(y0, y1) - b) / sigma) ** 2)
            gx = np.exp(-0.5 * ((np.arange(x0, x1) - a) / sigma) ** 2)
            light[y0:y1, x0:x1] += f * np.outer(gy, gx) / (2 * np.pi * sigma**2)
        noise = np.random.default_rng(seed)
        data = noise.poisson(light * GAIN) / GAIN + noise.normal(0, READ_NOISE / GAIN, shape) + pedestal
        return Sky(data.astype(np.float32), x, y, brightness, fwhm)

    return make
