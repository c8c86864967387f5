"""What is there: stars, galaxies, and three things that change, with what rate of electrons they send at a time.

Places are pixels of the template's grid, rates are electrons per second through clear air.  A galaxy is a fixed cloud of
point sources, so every object obeys exactly the same PSF.  The sky knows nothing of telescopes, cameras and schedules.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysim.optics import FloatArray

MARGIN_PIXELS = 80.0  # of sky beyond the template's edges: pointings wander
PIXELS_PER_STAR = 2_500
PIXELS_PER_GALAXY = 25_000
CLEAR_PIXELS = 30.0  # nothing else so near to what changes
CLEAR_OF_BRIGHT_PIXELS = 100.0  # and no star so near that ...
BRIGHT_RATE = 1e4  # ... may saturate
HOST_POINTS = 600
GALAXY_POINTS = 200


@dataclass(frozen=True)
class Points:
    """Constant point sources: arrays of equal length."""

    x: FloatArray
    y: FloatArray
    rate: FloatArray

    def only(self, which: NDArray[np.bool_]) -> "Points":
        """These points alone."""
        return Points(self.x[which], self.y[which], self.rate[which])


@dataclass(frozen=True)
class Variable:
    """A star that pulsates about the rate it has in the template."""

    x: float
    y: float
    rate: float
    amplitude: float
    period_seconds: float

    def place_at(self, _seconds: float) -> tuple[float, float]:
        return self.x, self.y

    def rate_at(self, seconds: float) -> float:
        return self.rate * (1 + self.amplitude * math.sin(2 * math.pi * seconds / self.period_seconds))

    template_rate = property(lambda self: self.rate)


@dataclass(frozen=True)
class Supernova:
    """Nothing before its onset; then it rises as 1 - exp(-t^2), t = time since the onset over the rise time."""

    x: float
    y: float
    peak_rate: float
    onset_seconds: float
    rise_seconds: float
    template_rate: float = 0.0

    def place_at(self, _seconds: float) -> tuple[float, float]:
        return self.x, self.y

    def rate_at(self, seconds: float) -> float:
        t = max(0.0, seconds - self.onset_seconds) / self.rise_seconds
        return self.peak_rate * (1 - math.exp(-t * t))


@dataclass(frozen=True)
class Mover:
    """A minor planet: constant light on a straight line, not on the template."""

    x: float
    y: float
    vx: float  # pixels / s
    vy: float
    rate: float
    template_rate: float = 0.0

    def place_at(self, seconds: float) -> tuple[float, float]:
        return self.x + self.vx * seconds, self.y + self.vy * seconds

    def rate_at(self, _seconds: float) -> float:
        return self.rate


Target = Supernova | Variable | Mover


@dataclass(frozen=True)
class Sky:
    """Everything that is there.  `targets` maps a name to what changes."""

    fixed: Points
    targets: dict[str, Target]


def sky(shape: tuple[int, int], night_seconds: float, seed: int) -> Sky:
    """The demo field on a template grid of `shape` (ny, nx).

    Star counts follow N(>rate) ~ rate^-0.55 (the brightest saturate), galaxies N(>rate) ~ rate^-0.9 with exponential
    profiles.  What changes is timed so that a night of `night_seconds` shows all of it.
    """
    rng = np.random.default_rng([seed, 30])
    ny, nx = shape
    host_x, host_y = 0.56 * nx + rng.uniform(-5, 5), 0.47 * ny + rng.uniform(-5, 5)
    targets: dict[str, Target] = {
        "supernova": Supernova(host_x + 5.3, host_y - 3.1, 260.0, 0.17 * night_seconds, 0.5 * night_seconds),
        "variable": Variable(0.36 * nx, 0.62 * ny, 700.0, 0.3, 0.73 * night_seconds),
        "mover": Mover(0.31 * nx, 0.33 * ny, 55.0 / night_seconds, 23.0 / night_seconds, 130.0),
    }
    stars, galaxies = (
        points.only(_is_clear(points, targets, night_seconds)) for points in (_stars(shape, rng), _galaxies(shape, rng))
    )
    clouds = [stars, galaxy(host_x, host_y, 1_600.0, 6.0, 0.6, 0.7, HOST_POINTS, rng)]
    for x, y, rate in zip(galaxies.x, galaxies.y, galaxies.rate, strict=True):
        scale, flattening, angle = rng.uniform((1.5, 0.3, 0), (5.0, 1.0, math.pi))
        clouds.append(galaxy(x, y, rate, scale, flattening, angle, GALAXY_POINTS, rng))
    fixed = Points(*(np.concatenate([getattr(c, name) for c in clouds]) for name in ("x", "y", "rate")))
    return Sky(fixed, targets)


def _is_clear(points: Points, targets: dict[str, Target], night_seconds: float) -> NDArray[np.bool_]:
    """Which points leave room for what changes, at the night's beginning and end."""
    clear = np.ones(points.x.size, dtype=np.bool_)
    room = np.where(points.rate > BRIGHT_RATE, CLEAR_OF_BRIGHT_PIXELS, CLEAR_PIXELS)
    for target in targets.values():
        for x, y in (target.place_at(0.0), target.place_at(night_seconds)):
            clear &= np.hypot(points.x - x, points.y - y) > room
    return clear


def _count(shape: tuple[int, int], pixels_each: int) -> int:
    return int((shape[0] + 2 * MARGIN_PIXELS) * (shape[1] + 2 * MARGIN_PIXELS) / pixels_each)


def _scatter(shape: tuple[int, int], rates: FloatArray, rng: np.random.Generator) -> Points:
    ny, nx = shape
    x = rng.uniform(-MARGIN_PIXELS, nx + MARGIN_PIXELS, rates.size)
    return Points(x, rng.uniform(-MARGIN_PIXELS, ny + MARGIN_PIXELS, rates.size), rates)


def _stars(shape: tuple[int, int], rng: np.random.Generator) -> Points:
    uniform = rng.uniform(0, 1, _count(shape, PIXELS_PER_STAR))
    return _scatter(shape, np.minimum(10.0 * uniform ** (-1 / 0.55), 2e5), rng)


def _galaxies(shape: tuple[int, int], rng: np.random.Generator) -> Points:
    """The centres of galaxies, with the rate of each."""
    uniform = rng.uniform(0, 1, _count(shape, PIXELS_PER_GALAXY))
    return _scatter(shape, np.minimum(60.0 * uniform ** (-1 / 0.9), 5e3), rng)


def galaxy(
    x: float,
    y: float,
    rate: float,
    scale: float,
    flattening: float,
    angle: float,
    points: int,
    rng: np.random.Generator,
) -> Points:
    """An exponential disc of `scale` pixels as `points` equal point sources; `angle` is its long axis's, from +x."""
    radius = np.minimum(rng.gamma(2.0, 1.0, points), 6.0) * scale
    theta = rng.uniform(0, 2 * math.pi, points)
    u, v = radius * np.cos(theta), radius * np.sin(theta) * flattening
    c, s = math.cos(angle), math.sin(angle)
    return Points(x + c * u - s * v, y + s * u + c * v, np.full(points, rate / points))
