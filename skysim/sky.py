"""What is there: stars, galaxies, and three things that change, with what rate of electrons they send at a time.

Places are pixels of the template's grid, rates are electrons per second through clear air.  A galaxy is a fixed cloud of
point sources, so every object obeys exactly the same PSF.  The sky knows nothing of telescopes, cameras and schedules.
"""

import math
from dataclasses import dataclass

import numpy as np

from skysim.optics import FloatArray

MARGIN_PIXELS = 80.0  # of sky beyond the template's edges: pointings wander
PIXELS_PER_STAR = 2_500
PIXELS_PER_GALAXY = 25_000
CLEAR_PIXELS = 30.0  # no other star so near to the things that change
HOST_POINTS = 600
GALAXY_POINTS = 200


@dataclass(frozen=True)
class Points:
    """Constant point sources: arrays of equal length."""

    x: FloatArray
    y: FloatArray
    rate: FloatArray


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
    clouds = [_stars(shape, targets, rng), _galaxies(shape, targets, rng)]
    clouds.append(_cloud(host_x, host_y, 1_600.0, 6.0, 0.6, 0.7, HOST_POINTS, rng))
    fixed = Points(*(np.concatenate([getattr(c, name) for c in clouds]) for name in ("x", "y", "rate")))
    return Sky(fixed, targets)


def _places(shape: tuple[int, int], count: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    ny, nx = shape
    x = rng.uniform(-MARGIN_PIXELS, nx + MARGIN_PIXELS, count)
    return x, rng.uniform(-MARGIN_PIXELS, ny + MARGIN_PIXELS, count)


def _is_clear(x: FloatArray, y: FloatArray, targets: dict[str, Target]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    clear = np.ones(x.size, dtype=bool)
    for target in targets.values():
        clear &= np.hypot(x - target.x, y - target.y) > CLEAR_PIXELS
    return clear


def _count(shape: tuple[int, int], pixels_each: int) -> int:
    return int((shape[0] + 2 * MARGIN_PIXELS) * (shape[1] + 2 * MARGIN_PIXELS) / pixels_each)


def _stars(shape: tuple[int, int], targets: dict[str, Target], rng: np.random.Generator) -> Points:
    count = _count(shape, PIXELS_PER_STAR)
    x, y = _places(shape, count, rng)
    rate = np.minimum(10.0 * rng.uniform(0, 1, count) ** (-1 / 0.55), 2e5)
    keep = _is_clear(x, y, targets)
    return Points(x[keep], y[keep], rate[keep])


def _galaxies(shape: tuple[int, int], targets: dict[str, Target], rng: np.random.Generator) -> Points:
    count = _count(shape, PIXELS_PER_GALAXY)
    x, y = _places(shape, count, rng)
    rate = np.minimum(60.0 * rng.uniform(0, 1, count) ** (-1 / 0.9), 5e3)
    clouds = [
        _cloud(
            x[i], y[i], rate[i], rng.uniform(1.5, 5.0), rng.uniform(0.3, 1.0), rng.uniform(0, math.pi), GALAXY_POINTS, rng
        )
        for i in np.flatnonzero(_is_clear(x, y, targets))
    ]
    if not clouds:
        return Points(np.empty(0), np.empty(0), np.empty(0))
    return Points(*(np.concatenate([getattr(c, name) for c in clouds]) for name in ("x", "y", "rate")))


def _cloud(
    x: float,
    y: float,
    rate: float,
    scale: float,
    flattening: float,
    angle: float,
    points: int,
    rng: np.random.Generator,
) -> Points:
    """One galaxy: an exponential disc of `scale` pixels as `points` equal point sources."""
    radius = np.minimum(rng.gamma(2.0, 1.0, points), 6.0) * scale
    theta = rng.uniform(0, 2 * math.pi, points)
    u, v = radius * np.cos(theta), radius * np.sin(theta) * flattening
    c, s = math.cos(angle), math.sin(angle)
    return Points(x + c * u - s * v, y + s * u + c * v, np.full(points, rate / points))
