"""What is measured of every frame, science or template: its sky, its sources, its seeing, its cosmic rays."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.background import Background, subtract_background
from photometry.cosmics import mark_cosmic_rays
from photometry.detection import FLAG_BLENDED, FLAG_EDGE, FLAG_MASKED, FLAG_SATURATED, detect, flag_masked
from photometry.frame import Frame, NoiseOverrides
from photometry.image import Image
from photometry.settings import Settings

# A source is measured well enough for the frame's seeing from this flux over its error.
_SEEING_SNR = 20.0


@dataclass(frozen=True)
class Measured:
    """A frame with its sky subtracted, its cosmic rays masked and its sources found; `frame` has that image too."""

    frame: Frame
    image: Image
    sky: Background
    stars: NDArray[Any]
    fwhm_pixels: float
    cosmic_ray_pixels: int


def measure(frame: Frame, settings: Settings, *, keep_variance: bool = False) -> Measured:
    """Sky, sources and cosmic rays of a frame, whose data lose the sky and whose mask gains the cosmic rays, in place."""
    image, sky = subtract_background(frame.image, settings, keep_variance=keep_variance, room=frame.image.data)
    stars = detect(image, sky, settings)
    fwhm = seeing(stars)
    hit = mark_cosmic_rays(image, stars)
    if hit:
        flag_masked(image.mask, stars)
    return Measured(replace(frame, image=image), image, sky, stars, fwhm, hit)


def seeing(stars: NDArray[Any]) -> float:
    """FWHM in pixels of what is most likely a star: the sharper of the bright, clean sources; NaN without any."""
    bad = FLAG_SATURATED | FLAG_MASKED | FLAG_BLENDED | FLAG_EDGE
    with np.errstate(divide="ignore", invalid="ignore"):
        clean = ((stars["flags"] & bad) == 0) & (stars["flux"] > _SEEING_SNR * stars["flux_err"])
    widths = stars["fwhm"][clean]
    if len(widths) < 5:
        widths = stars["fwhm"]
    # Galaxies and blends are broader than stars, cosmic rays and hot pixels sharper, and fewer.
    return float(np.percentile(widths, 35.0)) if len(widths) else float("nan")


def overrides(settings: Settings) -> NoiseOverrides:
    """What the settings know better than a header."""
    return NoiseOverrides(settings.gain, settings.read_noise, settings.saturation)
