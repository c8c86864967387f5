"""What a perfect measurement would find: places, fluxes and the best signal-to-noise ratio that a difference can have.

Two frames of one field, with PSFs P_s and P_t, white noise of variance V_s and V_t around the source and a flux scale b
(science / template), determine a new flux F no better than (Zackay, Ofek & Gal-Yam 2016, ApJ 830, 27)

    SNR^2 = F^2 * mean over frequencies of |P_s|^2 |P_t|^2 / (V_s |P_t|^2 + b^2 V_t |P_s|^2),

whichever of the two is the sharper.  The source's own photons add F * sum(P^3) / sum(P^2) to the variance, as the matched
filter weighs it.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from skysim.optics import FloatArray
from skysim.settings import NightSettings


@dataclass(frozen=True)
class TargetTruth:
    """One target in one frame; `flux_adu` is science minus template, and `snr` has its sign."""

    x: float
    y: float
    x_tmpl: float
    y_tmpl: float
    flux_adu: float
    snr: float


@dataclass(frozen=True)
class FrameTruth:
    """What one frame holds."""

    name: str
    mjd_mid: float
    fwhm_pixels: float
    transparency: float
    sky_adu: float
    dx_pixels: float
    dy_pixels: float
    rotation_degrees: float
    targets: dict[str, TargetTruth]


def own_noise(psf: FloatArray, flux: float) -> float:
    """The variance per pixel, electrons^2, that `flux` electrons of PSF `psf` (k, k) add as the matched filter weighs it."""
    return float(abs(flux) * (psf**3).sum() / (psf**2).sum())


def difference_snr(
    flux: float,
    psf_science: FloatArray,
    psf_template: FloatArray,
    var_science: float,
    var_template: float,
    scale: float,
) -> float:
    """The module's equation; both stamps (k, k) of one size, `var_template` per pixel of the template, `scale` = b."""
    power_s = np.abs(np.fft.fft2(psf_science)) ** 2
    power_t = np.abs(np.fft.fft2(psf_template)) ** 2
    per_frequency = power_s * power_t / (var_science * power_t + scale**2 * var_template * power_s)
    return flux * math.sqrt(float(per_frequency.mean()))


def write_truth(frames: list[FrameTruth], settings: NightSettings, folder: Path) -> None:
    """Write truth.json (everything, with what the night was made from) and truth.ecsv (one row a frame and target)."""
    from astropy.table import Table

    text = json.dumps({"night": asdict(settings), "frames": [asdict(frame) for frame in frames]}, indent=1)
    (folder / "truth.json").write_text(text + "\n")
    rows = [
        {"frame": f.name, "mjd_mid": f.mjd_mid, "target": name, **asdict(t)} for f in frames for name, t in f.targets.items()
    ]
    table = Table(rows=rows)
    units = {"mjd_mid": "d", "x": "pix", "y": "pix", "x_tmpl": "pix", "y_tmpl": "pix", "flux_adu": "adu"}
    for column, unit in units.items():
        table[column].unit = unit
    table.write(folder / "truth.ecsv", format="ascii.ecsv", overwrite=True)


def read_truth(folder: Path) -> list[FrameTruth]:
    """The frames of truth.json in `folder`."""
    frames = json.loads((folder / "truth.json").read_text())["frames"]
    return [FrameTruth(**{**f, "targets": {name: TargetTruth(**t) for name, t in f["targets"].items()}}) for f in frames]
