"""A pair as files, in the form that judges of differences read.

    sci.fits ref.fits            float32, adu
    mask_sci.fits mask_ref.fits  bits: 1 bad column, 2 saturated, 4 cosmic ray
    var_sci.fits var_ref.fits    true variance, adu^2, noise-free, bad pixels too
    src_sci.fits src_ref.fits    light of the sources without noise and sky, adu
    sources.csv                  kind (star, gal, tran), x, y (science pixels), flux_sci, flux_ref, snr, host, var
    truth.json                   PSF models, noise, scale, size, geometry, settings

A PSF model is a Moffat profile of exponent beta, fwhm f0 (1 + fu u + fv v + fq (u^2 + v^2 - 2/3)), ellipticities
c0 + cu u + cv v, u, v = 2 (x, y) / (n - 1) - 1.
"""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from astropy.io import fits

from skysim.frame import NIGHT_START, TEMPLATE_START, write_frame
from skysim.optics import Psf
from skysim.pair import SATURATION_ADU, SKY_GRADIENT, Listed, Noise, Pair, Side
from skysim.settings import PairSettings

EXPOSURE_SECONDS = 60.0


def write_pair(pair: Pair, settings: PairSettings, folder: Path) -> None:
    """Write all files of one pair into a folder that is there."""
    for name, side, begins in (("sci", pair.science, NIGHT_START), ("ref", pair.template, TEMPLATE_START)):
        write_frame(folder / f"{name}.fits", side.adu, _header(side, begins))
        for kind, plane in (("mask", side.mask), ("var", side.variance), ("src", side.light)):
            fits.PrimaryHDU(plane).writeto(folder / f"{kind}_{name}.fits", overwrite=True)
    rows = [("star", pair.stars), ("gal", pair.galaxies), ("tran", pair.transients)]
    lines = ["kind,x,y,flux_sci,flux_ref,snr,host,var", *(line for kind, listed in rows for line in _lines(kind, listed))]
    (folder / "sources.csv").write_text("\n".join(lines) + "\n")
    (folder / "truth.json").write_text(json.dumps(_truth(pair, settings), indent=1) + "\n")


def _header(side: Side, begins: datetime) -> fits.Header:
    return fits.Header(
        [
            ("SIMULATE", True, "not a real sky"),
            ("GAIN", side.noise.gain, "[electron/adu]"),
            ("RDNOISE", side.noise.read_noise, "[electron]"),
            ("SATURATE", SATURATION_ADU, "[adu]"),
            ("EXPTIME", EXPOSURE_SECONDS, "[s]"),
            ("DATE-OBS", begins.isoformat(timespec="milliseconds").removesuffix("+00:00"), "UTC, start of the exposure"),
            ("BUNIT", "adu", ""),
        ]
    )


def _lines(kind: str, listed: Listed) -> list[str]:
    columns = (listed.x, listed.y, listed.flux_science, listed.flux_template, listed.snr, listed.host, listed.varies)
    return [
        f"{kind},{x:.4f},{y:.4f},{science:.3f},{template:.3f},{snr:.3f},{host},{varies:.4f}"
        for x, y, science, template, snr, host, varies in zip(*columns, strict=True)
    ]


def _truth(pair: Pair, settings: PairSettings) -> dict[str, Any]:
    n = settings.size_pixels
    return {
        "nx": n,
        "ny": n,
        "size": n,
        "seed": settings.seed,
        "psf": {"sci": _psf(pair.science.psf), "ref": _psf(pair.template.psf)},
        "cam": {"sci": _noise(pair.science.noise), "ref": _noise(pair.template.noise)},
        "scale": settings.scale,
        "scale_grad": 0.0,
        "sat": SATURATION_ADU,
        "geometry": {"dx": settings.dx_pixels, "dy": settings.dy_pixels, "rot": settings.rotation_degrees, "scale": 1.0},
        "args": {"astrom": settings.misregistration_pixels, "sky_grad": SKY_GRADIENT, "sky_curv": 0.0},
        "settings": asdict(settings),
    }


def _psf(psf: Psf) -> dict[str, Any]:
    fu, fv, fq = psf.width_slopes
    e1, e2 = [psf.e1, psf.ellipticity_slope, 0.0], [psf.e2, 0.0, psf.ellipticity_slope]
    return {"beta": 3.0, "f0": psf.fwhm_pixels, "fu": fu, "fv": fv, "fq": fq, "e1": e1, "e2": e2}


def _noise(noise: Noise) -> dict[str, float]:
    return {"gain": noise.gain, "rn": noise.read_noise, "sky": noise.sky}
