"""The supernova's light curve: as found, as measured at its place on every difference, and as it was."""

import json
import math
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skysim.node import DemoFailedError, command
from skysim.optics import FloatArray
from skysim.report import FrameResult


@dataclass(frozen=True)
class Curve:
    """Difference fluxes in adu, divided by each frame's true transparency; NaN where there is none."""

    hours: FloatArray
    true: FloatArray
    found: FloatArray
    found_err: FloatArray
    forced: FloatArray
    forced_err: FloatArray


def forced(folder: Path, best: FrameResult) -> dict[str, tuple[float, float]]:
    """Flux and error, adu, on each frame's difference at the place where `best` shows the supernova, by frame name.

    DemoFailedError: photometry could not measure it.
    """
    match = best.found("supernova")
    assert match is not None
    x, y = match[0].x_tmpl, match[0].y_tmpl
    argv = [*command("ast3-photometry", "photometry.cli"), "lightcurve", str(folder / "products")]
    done = subprocess.run([*argv, "--at", f"{x:.3f}", f"{y:.3f}", "--json"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoFailedError(f"no light curve: {done.stderr.strip()}")
    return {point["name"]: (point["flux"], point["flux_err"]) for point in json.loads(done.stdout)["points"]}


def curve(results: Sequence[FrameResult], forced: dict[str, tuple[float, float]]) -> Curve:
    """The supernova's light curve; `forced` maps a frame's name to flux and error, adu, at its place."""
    nothing = (math.nan, math.nan)
    found = [(match[0].flux_adu, match[0].flux_err_adu) if (match := r.found("supernova")) else nothing for r in results]
    measured = [forced.get(r.truth.name, nothing) for r in results]
    clear = np.array([r.truth.transparency for r in results])
    mjd = np.array([r.truth.mjd_mid for r in results])
    true = np.array([r.truth.targets["supernova"].flux_adu for r in results])
    (f, fe), (m, me) = np.transpose(found), np.transpose(measured)
    return Curve(24 * (mjd - mjd[0]), true / clear, f / clear, fe / clear, m / clear, me / clear)
