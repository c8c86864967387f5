"""The supernova's light curve: as found, as measured at its place on every difference, and as it was."""

import json
import math
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

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


def forced(results: Sequence[FrameResult], best: FrameResult) -> dict[str, tuple[float, float]]:
    """Flux and error, adu, on each frame's difference at the place where `best` shows the supernova, by frame name.

    A frame in which the place cannot be measured is left out.  DemoFailedError: photometry could not measure at all.
    """
    match = best.found("supernova")
    assert match is not None
    folders = [str(r.folder) for r in results if r.folder is not None and (r.folder / "difference.fits").exists()]
    place = [f"{match[0].x_tmpl:.3f}", f"{match[0].y_tmpl:.3f}"]
    argv = [*command("ast3-photometry", "photometry.cli"), "lightcurve", *folders, "--at", *place, "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DemoFailedError(f"no light curve: {done.stderr.strip()}")
    rows = json.loads(done.stdout)["epochs"]
    return {row["frame"]: (row["flux"], row["flux_err"]) for row in rows if None not in (row["flux"], row["flux_err"])}


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
