"""A night: the sky, exposed by the schedule, recorded by the camera, with the truth of every frame.

    night = plan(NightSettings())
    template(night, path)
    for i in range(night.settings.frames):
        truth = expose(night, i, pool)

Each frame has random numbers of its own, so any one can be made again alone.
"""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np

from skysim.camera import Camera, camera, record, record_average
from skysim.frame import NIGHT_START, TEMPLATE_START, header, mjd, write_frame
from skysim.optics import FloatArray, Psf, draw, stamp
from skysim.schedule import TEMPLATE_EXPOSURES, Exposure, schedule, template_exposure
from skysim.settings import NightSettings
from skysim.sky import Sky, Target, sky
from skysim.truth import FrameTruth, TargetTruth, difference_snr, own_noise

STAMP_HALF_PIXELS = 32


@dataclass(frozen=True)
class Night:
    """What a night's frames follow from.  `template_light` (ny, nx): electrons of one template exposure, without targets."""

    settings: NightSettings
    sky: Sky
    camera: Camera
    template: Exposure
    template_light: FloatArray
    exposures: tuple[Exposure, ...]


def plan(settings: NightSettings) -> Night:
    """The night that these settings mean; the same each time."""
    shape = (settings.size_pixels, settings.size_pixels)
    there = sky(shape, settings.frames * settings.cadence_seconds, settings.seed)
    template = template_exposure()
    return Night(
        settings,
        there,
        camera(shape, settings.seed),
        template,
        light(there, template, shape),
        schedule(settings.frames, settings.cadence_seconds, settings.seed),
    )


def light(there: Sky, exposure: Exposure, shape: tuple[int, int]) -> FloatArray:
    """Expected electrons (ny, nx) of everything that does not change."""
    ny, nx = shape
    gx, gy = exposure.sky_gradient
    u, v = np.linspace(-1, 1, nx)[None, :], np.linspace(-1, 1, ny)[:, None]
    image = exposure.sky_rate * exposure.seconds * (1 + gx * u + gy * v)
    x, y = exposure.pointing.to_frame(there.fixed.x, there.fixed.y, shape)
    draw(image, x, y, there.fixed.rate * (exposure.seconds * exposure.transparency), exposure.psf)
    return image


def template(night: Night, path: Path) -> None:
    """Write the deep template: the average of closed epochs from before the supernova."""
    image = night.template_light.copy()
    exposure = night.template
    for target in night.sky.targets.values():
        draw(image, target.x, target.y, target.template_rate * exposure.seconds * exposure.transparency, exposure.psf)
    rng = np.random.default_rng([night.settings.seed, 40])
    adu = record_average(night.camera, image, TEMPLATE_EXPOSURES, rng)
    write_frame(path, adu, header(night.camera, exposure, TEMPLATE_START, TEMPLATE_EXPOSURES))


def frame_name(index: int) -> str:
    """The file name of the night's frame `index` (from 0)."""
    return f"ast3sim-{NIGHT_START:%Y%m%d}-{index + 1:04d}.fits"


def expose(night: Night, index: int, pool: Path) -> FrameTruth:
    """Expose frame `index`, let it arrive in `pool` by rename, and say what it holds."""
    exposure, shape = night.exposures[index], night.camera.shape
    image = light(night.sky, exposure, shape)
    targets = {name: _truth(night, image, exposure, target) for name, target in night.sky.targets.items()}
    middle = exposure.start_seconds + exposure.seconds / 2
    collected = exposure.seconds * exposure.transparency
    for name, target in night.sky.targets.items():
        draw(image, targets[name].x, targets[name].y, target.rate_at(middle) * collected, exposure.psf)
    adu = record(night.camera, image, np.random.default_rng([night.settings.seed, 50, index]))
    begins = NIGHT_START + timedelta(seconds=exposure.start_seconds)
    name = frame_name(index)
    write_frame(pool / name, adu, header(night.camera, exposure, begins))
    return FrameTruth(
        name=name,
        mjd_mid=mjd(begins + timedelta(seconds=exposure.seconds / 2)),
        fwhm_pixels=exposure.psf.fwhm_pixels,
        transparency=exposure.transparency,
        sky_adu=exposure.sky_rate * exposure.seconds / night.camera.gain,
        dx_pixels=exposure.pointing.dx_pixels,
        dy_pixels=exposure.pointing.dy_pixels,
        rotation_degrees=exposure.pointing.rotation_degrees,
        targets=targets,
    )


def _truth(night: Night, image: FloatArray, exposure: Exposure, target: Target) -> TargetTruth:
    """The truth about one target; `image` is the science frame's light without what changes."""
    shape, cam, base = night.camera.shape, night.camera, night.template
    middle = exposure.start_seconds + exposure.seconds / 2
    x_tmpl, y_tmpl = target.place_at(middle)
    x, y = (float(a) for a in exposure.pointing.to_frame(x_tmpl, y_tmpl, shape))
    collected, base_collected = exposure.seconds * exposure.transparency, base.seconds * base.transparency
    in_science, in_template = target.rate_at(middle) * collected, target.template_rate * base_collected
    scale = collected / base_collected
    psf_s, psf_t = _stamp(exposure.psf, x, y, shape), _stamp(base.psf, x_tmpl, y_tmpl, shape)
    var_s = _around(image, x, y) + cam.read_noise**2 + own_noise(psf_s, in_science)
    var_t = _around(night.template_light, x_tmpl, y_tmpl) + cam.read_noise**2 + own_noise(psf_t, in_template)
    flux = in_science - scale * in_template
    snr = difference_snr(flux, psf_s, psf_t, var_s, var_t / TEMPLATE_EXPOSURES, scale)
    return TargetTruth(x, y, float(x_tmpl), float(y_tmpl), flux / cam.gain, snr)


def _stamp(psf: Psf, x: float, y: float, shape: tuple[int, int]) -> FloatArray:
    return stamp(psf, x, y, shape, STAMP_HALF_PIXELS)


def _around(image: FloatArray, x: float, y: float) -> float:
    """Mean of the 5 x 5 pixels round x, y: the expected electrons there are their variance too."""
    ny, nx = image.shape
    col, row = min(max(round(x), 2), nx - 3), min(max(round(y), 2), ny - 3)
    return float(image[row - 2 : row + 3, col - 2 : col + 3].mean())
