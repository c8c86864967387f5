"""What is between the stars and the telescope: cloud, the sky's own light, satellites; and how sharp the image is.

Cloud is an extinction in magnitudes, a constant and patches; it dims stars and leaves the sky as bright as it is.
"""

import math
from dataclasses import dataclass

import numpy as np

from skysim.detector.chip import Light
from skysim.optics import WING_ELECTRONS, FloatArray, Psf, draw
from skysim.seeds import Purpose, stream

CLOUD_WAVES = 24
SATELLITE_ELECTRONS = (300.0, 5_000.0)  # per pixel along the trail
SATELLITE_STEP_PIXELS = 0.5
RING_INNER = 0.4  # of an unfocused star's radius: the shadow of the secondary mirror
_POINTS_PER_FWHM = 2.5  # of a blurred star, so close that nothing is seen between them
_POINTS_AT_A_TIME = 1_000_000


@dataclass(frozen=True)
class Cloud:
    """Extinction over a frame: `uniform` plus `patchy` times waves (n, 4): cycles in x and y, phase, amplitude (mag)."""

    uniform: float
    patchy: float
    waves: FloatArray

    def transparency(self, x: FloatArray, y: FloatArray, shape: tuple[int, int]) -> FloatArray:
        """The fraction of light that comes through at pixels of a frame of `shape`."""
        u, v = x / shape[1], y / shape[0]
        extinction = np.full(u.shape, self.uniform)
        if self.patchy:
            for across, up, phase, amplitude in self.waves:
                extinction += self.patchy * amplitude * np.sin(2 * math.pi * (across * u + up * v) + phase)
        return np.asarray(10 ** (-0.4 * np.maximum(extinction, 0.0)), np.float64)


@dataclass(frozen=True)
class Satellite:
    """A straight trail over the whole frame through x, y at an angle from +x, so many electrons per pixel of length."""

    x: float
    y: float
    angle: float
    electrons_per_pixel: float


@dataclass(frozen=True)
class Blur:
    """What else than the PSF spreads each star: equal parts of its light at offsets dx, dy (k,), whose mean is 0."""

    dx: FloatArray
    dy: FloatArray


def cloud(uniform: float, patchy: float, seed: int, number: int) -> Cloud:
    """The cloud of one frame: `uniform` mag, and patches of `patchy` mag rms, larger ones deeper."""
    rng = stream(seed, Purpose.CLOUD, number)
    cycles = rng.normal(0, 3.0, (CLOUD_WAVES, 2))
    amplitude = 1 / (0.5 + np.hypot(*cycles.T))
    amplitude *= math.sqrt(2) / math.sqrt(float((amplitude**2).sum()))
    phase = rng.uniform(0, 2 * math.pi, CLOUD_WAVES)
    return Cloud(uniform, patchy, np.column_stack([cycles, phase, amplitude]))


def satellites(count: int, shape: tuple[int, int], seed: int, number: int) -> tuple[Satellite, ...]:
    """So many trails over one frame."""
    rng = stream(seed, Purpose.SATELLITES, number)
    low, high = np.log(SATELLITE_ELECTRONS)
    return tuple(
        Satellite(rng.uniform(0.1, 0.9) * shape[1], rng.uniform(0.1, 0.9) * shape[0], rng.uniform(0, math.pi),
                  math.exp(rng.uniform(low, high)))
        for _ in range(count)
    )  # fmt: skip


def blur(fwhm: float, defocus: float, trail: float, angle: float) -> Blur:
    """A ring of diameter `defocus` pixels out of focus, drawn along a line of `trail` pixels at `angle` from +x."""
    step = fwhm / _POINTS_PER_FWHM
    along = np.linspace(-trail / 2, trail / 2, math.ceil(trail / step) + 1) if trail else np.zeros(1)
    reach = math.ceil(defocus / 2 / step)
    across, up = (axis.ravel() * step for axis in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    r = np.hypot(across, up)
    inside = (r <= defocus / 2) & (r >= RING_INNER * defocus / 2)
    dx = across[inside][:, None] + math.cos(angle) * along
    dy = up[inside][:, None] + math.sin(angle) * along
    return Blur(dx.ravel(), dy.ravel())


def add_sky(image: Light, electrons: float, gradient: float, angle: float) -> None:
    """Add a sky of `electrons` a pixel, changing by the fraction `gradient` over the frame along `angle`; in place."""
    ny, nx = image.shape
    u, v = np.linspace(-0.5, 0.5, nx), np.linspace(-0.5, 0.5, ny)
    image += (electrons * (1 + gradient * math.cos(angle) * u)).astype(np.float32)
    image += (electrons * gradient * math.sin(angle) * v).astype(np.float32)[:, None]


def add_stars(image: Light, x: FloatArray, y: FloatArray, electrons: FloatArray, psf: Psf, spread: Blur) -> None:
    """Add stars, each blurred; in place."""
    parts = spread.dx.size
    for start in range(0, x.size, max(1, _POINTS_AT_A_TIME // parts)):
        some = slice(start, start + max(1, _POINTS_AT_A_TIME // parts))
        at_x, at_y = (x[some, None] + spread.dx).ravel(), (y[some, None] + spread.dy).ravel()
        draw(image, at_x, at_y, np.repeat(electrons[some] / parts, parts), psf, WING_ELECTRONS / parts)


def add_satellite(image: Light, satellite: Satellite, psf: Psf) -> None:
    """Add a trail from edge to edge; in place."""
    ny, nx = image.shape
    along = np.arange(-math.hypot(nx, ny), math.hypot(nx, ny), SATELLITE_STEP_PIXELS)
    x, y = satellite.x + along * math.cos(satellite.angle), satellite.y + along * math.sin(satellite.angle)
    near = (x > -50) & (x < nx + 50) & (y > -50) & (y < ny + 50)
    draw(image, x[near], y[near], np.full(int(near.sum()), satellite.electrons_per_pixel * SATELLITE_STEP_PIXELS), psf)
