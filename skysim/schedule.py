"""When the telescope exposes, where it points, and through what air.

The seeing goes up and down round the template's, so some frames are sharper than it and some broader; the pointing wanders
by tens of pixels and turns slightly; the sky brightens and fades, thin cloud comes and goes.
"""

import math
from dataclasses import dataclass

import numpy as np

from skysim.optics import Pointing, Psf

TEMPLATE_EXPOSURES = 16
TEMPLATE_FWHM_PIXELS = 3.5


@dataclass(frozen=True)
class Exposure:
    """One exposure: its time, its pointing, and the air above it."""

    start_seconds: float  # since the night's first exposure
    seconds: float
    pointing: Pointing
    psf: Psf
    sky_rate: float  # electrons / s / pixel
    sky_gradient: tuple[float, float]  # relative, from centre to edge in x and y
    transparency: float
    wcs_drift_pixels: tuple[float, float]  # how far the header's WCS is off, in x and y


EXPOSURE_SECONDS = 60.0


def template_exposure() -> Exposure:
    """One of the equal exposures that the template averages: nominal pointing, clear and dark, good seeing."""
    psf = Psf(TEMPLATE_FWHM_PIXELS, e1=0.01, e2=-0.01)
    return Exposure(0.0, EXPOSURE_SECONDS, Pointing(), psf, 7.0, (0.02, -0.01), 1.0, (0.0, 0.0))


def schedule(frames: int, cadence_seconds: float, seed: int) -> tuple[Exposure, ...]:
    """The night's exposures, in time order."""
    rng = np.random.default_rng([seed, 20])
    phase = rng.uniform(0, 2 * math.pi)
    return tuple(_exposure(i, frames, cadence_seconds, phase, rng) for i in range(frames))


def _exposure(i: int, frames: int, cadence_seconds: float, phase: float, rng: np.random.Generator) -> Exposure:
    wave = math.sin(phase + 3 * math.pi * i / frames)
    fwhm = TEMPLATE_FWHM_PIXELS * (1.1 + 0.28 * wave) + rng.normal(0, 0.12)
    psf = Psf(max(2.5, fwhm), e1=rng.normal(0, 0.02), e2=rng.normal(0, 0.02))
    pointing = Pointing(rng.uniform(-30, 30), rng.uniform(-30, 30), rng.uniform(-0.15, 0.15))
    return Exposure(
        start_seconds=i * cadence_seconds,
        seconds=EXPOSURE_SECONDS,
        pointing=pointing,
        psf=psf,
        sky_rate=9.0 + 2.0 * math.cos(2 * math.pi * i / frames) + rng.uniform(-0.5, 0.5),
        sky_gradient=(rng.uniform(-0.06, 0.06), rng.uniform(-0.06, 0.06)),
        transparency=rng.uniform(0.8, 1.0),
        wcs_drift_pixels=(0.15 * i, -0.1 * i),
    )
