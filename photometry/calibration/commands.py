"""`ast3-photometry calibrate build` and `apply`."""

import json
import os
from pathlib import Path
from typing import Any

from photometry.calibration.blemishes import mark_blemishes
from photometry.calibration.build import build_masters
from photometry.calibration.engine import calibrate
from photometry.calibration.files import write_calibrated
from photometry.calibration.masters import NO_MASTERS, load_masters, version_of
from photometry.calibration.prepare import filter_of
from photometry.detector import detector
from photometry.errors import BadFrameError, BadInputError, EnvironmentFailedError
from photometry.fits_map import open_pixels
from photometry.headers import header_of, trimmed
from photometry.instrument import load_instrument
from photometry.manifest import NAME, plain, write_manifest
from photometry.settings import Settings
from photometry.threads import start_threads
from photometry.times import exposure_of


def build(frames: list[Path], instrument: str, out: Path, *, dark_from_science: bool) -> dict[str, Any]:
    """Write masters and their manifest into the empty folder `out`; what was made of which frames."""
    camera = load_instrument(instrument)
    names = [path.name for path in frames]
    if len(set(names)) != len(names):
        raise BadInputError("two frames have one name; give each once")
    with start_threads() as threads:
        report = build_masters(
            frames, camera, out, threads, dark_from_science=dark_from_science, most_megapixels=Settings().max_megapixels
        )
    facts: dict[str, Any] = plain(
        {"instrument": camera.name, "used": report.used, "refused": report.refused, "figures": report.figures}
    )
    write_manifest(out, facts)
    version = version_of(json.loads((out / NAME).read_bytes())["files"])
    flat = {f"{master} {name}": value for master, found in facts["figures"].items() for name, value in found.items()}
    notes = [f"{name}: not used: {reason}" for name, reason in sorted(report.refused.items())]
    return {**facts, "figures": {"version": version, "frames_used": len(report.used), **flat}, "notes": notes}


def apply(frame: Path, instrument: str, masters: Path | None, out: Path) -> dict[str, Any]:
    """Write the calibrated frame to the new file `out`; figures and notes.

    BadFrameError: the frame's fault, with its name.  EnvironmentFailedError: the masters, or an I/O error.
    """
    camera = load_instrument(instrument)
    partial = out.parent / f".{out.name}.{os.getpid()}.partial"
    notes: list[str] = []
    try:
        with start_threads() as threads, open_pixels(frame, Settings().max_megapixels) as pixels:
            ny, nx = (int(side) for side in pixels.values.shape)
            chip = detector(camera, pixels.header, (ny, nx), notes)
            when, band = exposure_of(pixels.header, camera.time), filter_of(camera, pixels.header)
            if masters is None:
                found = calibrate(pixels, chip, NO_MASTERS, when.seconds, band, threads)
            else:
                with load_masters(masters, chip) as loaded:
                    found = calibrate(pixels, chip, loaded, when.seconds, band, threads)
            blemishes = mark_blemishes(found.image, threads)
            header = header_of(trimmed(pixels.header, chip), when, None, camera)
            write_calibrated(partial, found, header, when, threads)
            notes += [*pixels.notes, *found.notes]
            if blemishes.trailed:
                notes.append(f"the stars are trailed: {blemishes.elongation:.1f} times longer than wide")
        partial.rename(out)
    except BadFrameError as error:
        raise BadFrameError(f"{frame.name}: {error}") from error
    except MemoryError as error:
        raise EnvironmentFailedError("not enough memory for the frame") from error
    except OSError as error:
        raise EnvironmentFailedError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    told: dict[str, Any] = plain({"figures": found.figures | blemishes.figures(), "notes": notes, "out": str(out)})
    return told
