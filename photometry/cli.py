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
from photometry.settings import GPU, PLANES, Settings

DONE, FAILED, WRONG = 0, 1, 2

# Threads of linear algebra on small matrices only wait for each other: on 2 shared cores a subtraction took 25 s with them
# and 3 s without.  Read when numpy is loaded, which the commands do late for this reason too.
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

_EXAMPLES = """examples:
  ast3-photometry process night/0042.fits.fz --template templates/field7.fits --out products/0042
  ast3-photometry subtract science.fits template.fits --out diff --gain 1.5 --json
  ast3-photometry calibrate build cal/*.fits --instrument lowell42 --out masters
  ast3-photometry calibrate apply raw.fits --instrument lowell42 --masters masters --out calibrated.fits
  ast3-photometry lightcurve products/* --at 257.1 249.7 --out supernova.ecsv
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    arguments = _parser().parse_args(argv)
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ast3-photometry",
        description="Calibrate a frame, measure it, subtract a template, or follow one place through published differences.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = _command(commands, "process", _process, "one frame in, all products out")
    command.add_argument("frame", metavar="FRAME", type=Path, help="plain, gzip or tile-compressed FITS")
    command.add_argument("--template", metavar="T", type=Path, help="subtract this frame; without it: everything but that")
    command.add_argument(
        "--settings", metavar="FILE", type=Path, help="a JSON object of keys as in ast3d.yaml's photometry; default: theirs"
    )
    _add_out(command)

    command = _command(commands, "subtract", _subtract, "science minus matched template, on the science frame's grid")
    command.add_argument("science", metavar="SCI", type=Path)
    command.add_argument("template", metavar="TEMPLATE", type=Path)
    _add_out(command)
    for side in ("", "template-"):
        whose = "the template's" if side else "the science frame's"
        command.add_argument(f"--{side}gain", type=_positive, metavar="G", help=f"{whose} electrons per unit")
        command.add_argument(f"--{side}read-noise", type=_not_negative, metavar="E", help=f"{whose} read noise, electrons")
        command.add_argument(f"--{side}saturation", type=_positive, metavar="S", help=f"{whose} saturation, in its unit")
    for side in ("science", "template"):
        command.add_argument(f"--{side}-mask", type=Path, metavar="FITS", help="not 0: bad (only BADBITS, if it has them)")
        command.add_argument(f"--{side}-variance", type=Path, metavar="FITS", help="total, unit^2; <= 0 or NaN: bad")
    command.add_argument(
        "--planes", type=_planes, metavar="A,B", default=PLANES,
        help=f"which of {','.join(PLANES)} to write (default: all); DIFF, MASK and PSF always, sources with VAR and SCORE",
    )  # fmt: skip
    command.add_argument(
        "--gpu", choices=GPU, default="auto", help="auto: on a GPU where one works; require: or not at all; off: on the CPU"
    )

    command = _command(commands, "lightcurve", _lightcurve, "forced photometry of one place on published differences")
    command.add_argument("products", metavar="PRODUCTS", type=Path, nargs="+", help="folders that hold difference.fits")
    command.add_argument(
        "--at", nargs=2, type=float, required=True, metavar=("X_TMPL", "Y_TMPL"), help="the place, 0-based template pixels"
    )
    command.add_argument("--out", type=Path, metavar="F.ecsv", help="write the table here")
    _add_calibrate(commands)
    return parser


def _add_calibrate(commands: Any) -> None:
    what = "masters from frames, or a raw frame calibrated"
    calibrate = commands.add_parser("calibrate", help=what, description=what.capitalize() + ".")
    commands = calibrate.add_subparsers(required=True, metavar="COMMAND")
    command = _command(
        commands, "build", _calibrate_build, "master bias, dark and flats from raw frames, by what they say they are"
    )
    command.add_argument("frames", metavar="FRAME", type=Path, nargs="+", help="bias, dark, flat and science frames")
    command.add_argument(
        "--dark-from-science",
        action="store_true",
        help="the dark from science frames with different skies, where the sky vanishes",
    )
    _add_out(command)
    _add_instrument(command)
    command = _command(commands, "apply", _calibrate_apply, "a raw frame in electrons, with variance and mask")
    command.add_argument("frame", metavar="FRAME", type=Path, help="plain, gzip or tile-compressed FITS")
    command.add_argument(
        "--masters", metavar="DIR", type=Path, help="of calibrate build; without them: what the frame alone gives"
    )
    command.add_argument("--out", type=Path, required=True, metavar="F.fits", help="a new file")
    _add_instrument(command)


def _add_instrument(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--instrument",
        required=True,
        metavar="NAME|FILE",
        help="one of conf/instruments (generic: by the header), or a .yaml file",
    )


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], dict[str, Any]], what: str) -> Any:
    command = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(run=run)
    return command


def _add_out(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")


def _positive(word: str) -> float:
    value = float(word)
    if not 0 < value < float("inf"):
        raise ValueError
    return value


def _not_negative(word: str) -> float:
    value = float(word)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


def _planes(words: str) -> tuple[str, ...]:
    chosen = {word.strip().upper() for word in words.split(",")}
    if not chosen <= set(PLANES):
        raise ValueError
    return tuple(plane for plane in PLANES if plane in chosen | {"DIFF", "MASK", "PSF"})


def _process(arguments: argparse.Namespace) -> dict[str, Any]:
    from photometry.manifest import write_manifest
    from photometry.pipeline import process

    _require_files(arguments.frame, arguments.template)
    settings = _settings(arguments.settings)

    def make(out: Path) -> dict[str, Any]:
        report = process(arguments.frame, out, template_path=arguments.template, settings=settings)
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
