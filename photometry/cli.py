"""`ast3-photometry`: the pipeline by hand.

Exit status: 0 done, 1 the work failed, 2 the call or the input is wrong; then one line on stderr says what and what to do.
What is written appears whole or not at all: it is made beside its place and renamed.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from photometry.errors import BadFrameError, BadInputError, EnvironmentFailedError, PhotometryError
from photometry.options import parser_of
from photometry.settings import Settings

DONE, FAILED, WRONG = 0, 1, 2

# Threads of linear algebra on small matrices only wait for each other: on 2 shared cores a subtraction took 25 s with them
# and 3 s without.  Read when numpy is loaded, which the commands do late for this reason too.
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    arguments = parser_of(_RUNS).parse_args(argv)
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
    try:
        result = arguments.run(arguments)
    except (BadFrameError, BadInputError) as error:
        return _fail(error, WRONG)
    except PhotometryError as error:
        return _fail(error, FAILED)
    except OSError as error:
        return _fail(error, FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted", FAILED)
    print(json.dumps(result, allow_nan=False) if arguments.json else _lines(result))
    return DONE


def _fail(error: object, status: int) -> int:
    print(f"ast3-photometry: {' '.join(str(error).split())}", file=sys.stderr)
    return status


def _process(arguments: argparse.Namespace) -> dict[str, Any]:
    from photometry.manifest import write_manifest
    from photometry.observatory import Site
    from photometry.pipeline import process
    from photometry.telescope import Telescope

    _require_files(arguments.frame, arguments.template, arguments.masters, arguments.catalog)
    settings = _settings(arguments.settings)
    site = Site(*arguments.site) if arguments.site else None
    telescope = Telescope(arguments.instrument, arguments.masters, arguments.catalog, site)

    def make(out: Path) -> dict[str, Any]:
        report = process(arguments.frame, out, telescope=telescope, template_path=arguments.template, settings=settings)
        facts = {"name": ascii(arguments.frame.name)[1:-1], **report.as_dict()}
        write_manifest(out, facts)
        return facts

    return _into(arguments.out, make)


def _subtract(arguments: argparse.Namespace) -> dict[str, Any]:
    from photometry.frame import NoiseOverrides
    from photometry.pair import subtract_pair
    from photometry.subtraction.reading import Given

    _require_files(
        arguments.science, arguments.template, arguments.science_mask, arguments.template_mask,
        arguments.science_variance, arguments.template_variance,
    )  # fmt: skip
    noise = NoiseOverrides(arguments.gain, arguments.read_noise, arguments.saturation)
    other = NoiseOverrides(arguments.template_gain, arguments.template_read_noise, arguments.template_saturation)
    science = Given(arguments.science, noise, arguments.science_mask, arguments.science_variance)
    template = Given(arguments.template, other, arguments.template_mask, arguments.template_variance)
    settings = Settings(gpu=arguments.gpu)
    return _into(arguments.out, lambda out: subtract_pair(science, template, out, settings, arguments.planes))


def _calibrate_build(arguments: argparse.Namespace) -> dict[str, Any]:
    from photometry.calibration.commands import build

    _require_files(*arguments.frames)
    return _into(
        arguments.out,
        lambda out: build(arguments.frames, arguments.instrument, out, dark_from_science=arguments.dark_from_science),
    )


def _calibrate_apply(arguments: argparse.Namespace) -> dict[str, Any]:
    from photometry.calibration.commands import apply

    _require_files(arguments.frame)
    if arguments.out.exists():
        raise BadInputError(f"{arguments.out}: is there already; name a new file")
    return apply(arguments.frame, arguments.instrument, arguments.masters, arguments.out)


def _index(arguments: argparse.Namespace) -> dict[str, Any]:
    from photometry.astrometry import AstrometrySettings, build_indexes, load_catalog
    from photometry.astrometry.blind import index_folder
    from photometry.instrument import load_instrument

    _require_files(arguments.catalog)
    camera = load_instrument(arguments.instrument)
    if camera.scale is None or camera.chip_shape is None:
        raise BadInputError(f"the instrument {camera.name} does not say its scale and its amplifiers; indexes need both")
    settings = AstrometrySettings(camera.scale.arcsec_per_pixel, camera.scale.tolerance)
    catalog = load_catalog(arguments.catalog)
    folder = index_folder(arguments.catalog)
    made = build_indexes(catalog, arguments.epoch, camera.chip_shape, settings, folder)
    return {"figures": {"stars": len(catalog.rows), "indexes": len(made)}, "out": str(folder)}


def _lightcurve(arguments: argparse.Namespace) -> dict[str, Any]:
    from photometry.columns import write_ecsv
    from photometry.lightcurve import light_curve
    from photometry.manifest import plain

    table = light_curve(arguments.products, *arguments.at)
    if arguments.out is not None:
        write_ecsv(table, arguments.out)
    rows: list[dict[str, Any]] = plain([dict(zip(table.colnames, row, strict=True)) for row in table.iterrows()])
    return {"x_tmpl": arguments.at[0], "y_tmpl": arguments.at[1], "epochs": rows}


def _settings(path: Path | None) -> Settings:
    """The defaults with what the file says instead; BadInputError names the key."""
    if path is None:
        return Settings()
    try:
        mapping = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise BadInputError(
            f"{path}: {getattr(error, 'strerror', None) or error}; name a file with a JSON object"
        ) from error
    if not isinstance(mapping, dict):
        raise BadInputError(f'{path}: is no JSON object, such as {{"gain": 1.5}}')
    return Settings.from_dict(mapping)


def _require_files(*paths: Path | None) -> None:
    """A file that is not there is the caller's mistake; one that cannot be read may be the machine's."""
    for path in paths:
        if path is not None and not os.path.lexists(path):
            raise BadInputError(f"{path}: no such file")


def _into(out: Path, make: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
    """Let `make` fill a folder beside `out` and rename it; nothing stays behind when it fails."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise BadInputError(f"{out}: is not a folder; name a new one")
    if out.is_dir() and any(out.iterdir()):
        raise BadInputError(f"{out}: is not empty; name a new folder, nothing is overwritten")
    out = out.absolute()
    partial = out.parent / f".{out.name}.{os.getpid()}.partial"
    try:
        partial.mkdir(parents=True)
        result = make(partial)
        partial.rename(out)
    except OSError as error:
        raise EnvironmentFailedError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return {**result, "out": str(out)}


def _lines(result: dict[str, Any]) -> str:
    """For a person: figures, then notes, then where the products are; a light curve as a table."""
    if "epochs" in result:
        rows = [f"{'mjd':>14} {'flux':>12} {'flux_err':>10} {'flux_tmpl':>12}  frame"]
        for row in result["epochs"]:
            numbers = [_shown(row[name]) for name in ("mjd", "flux", "flux_err", "flux_tmpl")]
            rows.append("{:>14} {:>12} {:>10} {:>12}  {}".format(*numbers, row["frame"]))
        return "\n".join(rows)
    lines = [f"{name:24} {_shown(value)}" for name, value in result["figures"].items()]
    lines += [f"note: {note}" for note in result.get("notes", [])]
    return "\n".join([*lines, f"products in {result['out']}"])


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


_RUNS = {
    "process": _process,
    "subtract": _subtract,
    "lightcurve": _lightcurve,
    "calibrate_build": _calibrate_build,
    "calibrate_apply": _calibrate_apply,
    "index": _index,
}
