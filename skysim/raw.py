"""One raw frame of a field on the sky, with everything that is true of it.

    chip = chip_of(load_instrument("ast3"))
    frame = expose(chip, FrameSettings(ra_deg=120.0, dec_deg=-70.0))

The order is nature's: light of sky, stars and satellites, times the flat field; smear; photon noise and dark current; cosmic
rays; bleeding; read-out.  At its largest it holds two images of the chip: one of light (float32), one raw (uint16).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skysim.air import Blur, Cloud, Satellite, add_satellite, add_sky, add_stars, blur, cloud, satellites
from skysim.detector.charge import add_cosmic_rays, bleed, collect, smear
from skysim.detector.chip import Chip, Light
from skysim.detector.pattern import Bias, bias_of, flat_band
from skysim.detector.readout import read_out
from skysim.exposure import ZERO_POINTS, aim, band_of, begins, julian_year, sky_electrons
from skysim.optics import FloatArray, Psf
from skysim.seeds import Purpose, bands, stream
from skysim.settings import FrameSettings
from skysim.sphere.stars import Stars, stars_around
from skysim.sphere.tangent import Projection

EDGE_PIXELS = 30.0  # stars so far outside still shed light on the chip
SHAKE_RMS = 0.015  # of the ellipticity, from frame to frame
OBJECT, BIAS, DARK, FLAT = range(4)  # what a frame is of, in the keys of random streams


@dataclass(frozen=True)
class Sources:
    """The stars on the chip: x, y (0-based, trimmed), electrons of each before the flat field, AB mag in the catalog's band,
    ra, dec (ICRS, deg, at the frame's epoch), and whether its brightest pixel is full.
    """

    x: FloatArray
    y: FloatArray
    electrons: FloatArray
    mag: FloatArray
    ra: FloatArray
    dec: FloatArray
    saturated: NDArray[np.bool_]


@dataclass(frozen=True)
class RawFrame:
    """raw: uint16 adu; the rest is the truth about it."""

    raw: NDArray[np.uint16]
    band: str
    projection: Projection
    psf: Psf
    cloud: Cloud
    satellites: tuple[Satellite, ...]
    sky_electrons: float
    cosmic_rays: int
    bias: Bias
    sources: Sources


def expose(chip: Chip, settings: FrameSettings) -> RawFrame:
    """The frame.  BadInputError: the instrument has no such filter."""
    band = band_of(chip.instrument, settings.filter)
    rng = stream(settings.seed, Purpose.SHAKE, settings.number)
    psf = Psf(settings.fwhm_pixels, *rng.normal(0, SHAKE_RMS, 2))
    spread = blur(settings.fwhm_pixels, settings.defocus_pixels, settings.trail_pixels, rng.uniform(0, math.pi))
    projection = aim(settings, chip)
    air = cloud(settings.cloud_mag, settings.patchy_mag, settings.seed, settings.number)
    trails = satellites(settings.satellites, chip.shape, settings.seed, settings.number)
    sky = sky_electrons(settings, chip, band)
    bias = bias_of(chip, settings.camera)
    light = np.zeros(chip.shape, np.float32)
    add_sky(light, sky, settings.sky_gradient, rng.uniform(0, 2 * math.pi))
    nearby = _near(projection, settings, band, air)
    add_stars(light, nearby.x, nearby.y, nearby.electrons, psf, spread)
    for trail in trails:
        add_satellite(light, trail, psf)
    key = (OBJECT, settings.number)
    full_well = chip.full_well(bias.level)
    hits = detect(light, chip, settings.seconds, settings.camera, settings.seed, key, full_well)
    raw = read_out(light, chip, bias, settings.seed, key)
    sources = _on_chip(nearby, chip, psf, spread, sky, float(full_well.min()))
    return RawFrame(raw, band, projection, psf, air, trails, sky, hits, bias, sources)


def detect(
    light: Light, chip: Chip, seconds: float, camera: int, seed: int, key: tuple[int, ...], full_well: FloatArray
) -> int:
    """From light on the detector to the charge at the exposure's end, in place; the number of cosmic rays."""
    for i, rows in bands(chip.shape[0]):
        light[rows] *= flat_band(chip.shape, camera, i, rows)
    smear(light, chip, seconds)
    collect(light, seconds, camera, seed, key)
    hits = add_cosmic_rays(light, seconds, seed, key)
    bleed(light, chip, full_well)
    return hits


def _near(projection: Projection, settings: FrameSettings, band: str, air: Cloud) -> Sources:
    """All stars that shed light on the chip; none is called saturated yet."""
    reach = projection.radius_degrees + EDGE_PIXELS * projection.arcsec_per_pixel / 3600
    there: Stars = stars_around(settings.seed, projection.ra_deg, projection.dec_deg, reach)
    ra, dec = there.places_at(julian_year(begins(settings)))
    x, y = projection.to_pixels(ra, dec)
    ny, nx = projection.shape
    near = (x > -EDGE_PIXELS) & (x < nx + EDGE_PIXELS) & (y > -EDGE_PIXELS) & (y < ny + EDGE_PIXELS)
    mag = there.magnitude(band)[near]
    x, y = x[near], y[near]
    through = air.transparency(x, y, projection.shape)
    electrons = settings.seconds * through * 10 ** (0.4 * (ZERO_POINTS[band] - mag))
    return Sources(x, y, electrons, mag, ra[near], dec[near], np.zeros(x.size, np.bool_))


def _on_chip(near: Sources, chip: Chip, psf: Psf, spread: Blur, sky: float, full_well: float) -> Sources:
    ny, nx = chip.shape
    on = (near.x >= -0.5) & (near.x < nx - 0.5) & (near.y >= -0.5) & (near.y < ny - 0.5)
    alpha, _, _ = psf.shape_at(near.x, near.y, chip.shape)
    brightest = sky + 2 * near.electrons / (math.pi * alpha**2 * spread.dx.size)  # exact where nothing blurs
    full = brightest > full_well
    return Sources(near.x[on], near.y[on], near.electrons[on], near.mag[on], near.ra[on], near.dec[on], full[on])
