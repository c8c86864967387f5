"""The options of `ast3-photometry`."""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from photometry.settings import GPU, PLANES

Run = Callable[[argparse.Namespace], dict[str, Any]]

_EXAMPLES = """examples:
  ast3-photometry process night/0042.fits.fz --template templates/field7.fits --out products/0042
  ast3-photometry process raw.fits --instrument ast3 --masters masters --catalog stars.fits --out products/0043
  ast3-photometry subtract science.fits template.fits --out diff --gain 1.5 --json
  ast3-photometry calibrate build cal/*.fits --instrument lowell42 --out masters
  ast3-photometry calibrate apply raw.fits --instrument lowell42 --masters masters --out calibrated.fits
  ast3-photometry index stars.fits --instrument ast3 --epoch 2027
  ast3-photometry lightcurve products/* --at 257.1 249.7 --out supernova.ecsv
"""


def parser_of(runs: Mapping[str, Run]) -> argparse.ArgumentParser:
    """Of `ast3-photometry`; `arguments.run` is the one of `runs` that the command names."""
    parser = argparse.ArgumentParser(
        prog="ast3-photometry",
        description="Calibrate a frame, measure it, subtract a template, or follow one place through published differences.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = _command(commands, "process", runs["process"], "one frame in, all products out")
    command.add_argument("frame", metavar="FRAME", type=Path, help="plain, gzip or tile-compressed FITS")
    command.add_argument("--template", metavar="T", type=Path, help="subtract this frame; without it: everything but that")
    _add_telescope(command)
    command.add_argument(
        "--settings", metavar="FILE", type=Path, help="a JSON object of keys as in ast3d.yaml's photometry; default: theirs"
    )
    _add_out(command)

    command = _command(commands, "subtract", runs["subtract"], "science minus matched template, on the science frame's grid")
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

    command = _command(commands, "lightcurve", runs["lightcurve"], "forced photometry of one place on published differences")
    command.add_argument("products", metavar="PRODUCTS", type=Path, nargs="+", help="folders that hold difference.fits")
    command.add_argument(
        "--at", nargs=2, type=float, required=True, metavar=("X_TMPL", "Y_TMPL"), help="the place, 0-based template pixels"
    )
    command.add_argument("--out", type=Path, metavar="F.ecsv", help="write the table here")
    _add_calibrate(commands, runs)

    command = _command(commands, "index", runs["index"], "prepare a star catalog for frames whose pointing is not known")
    command.add_argument("catalog", metavar="CATALOG", type=Path, help="the stars; the folder CATALOG.indexes is made")
    _add_instrument(command)
    command.add_argument("--epoch", type=float, required=True, metavar="YEAR", help="for which the stars are moved, as 2027")
    return parser


def _add_calibrate(commands: Any, runs: Mapping[str, Run]) -> None:
    what = "masters from frames, or a raw frame calibrated"
    calibrate = commands.add_parser("calibrate", help=what, description=what.capitalize() + ".")
    commands = calibrate.add_subparsers(required=True, metavar="COMMAND")
    command = _command(
        commands, "build", runs["calibrate_build"], "master bias, dark and flats from raw frames, by what they say they are"
    )
    command.add_argument("frames", metavar="FRAME", type=Path, nargs="+", help="bias, dark, flat and science frames")
    command.add_argument(
        "--dark-from-science",
        action="store_true",
        help="the dark from science frames with different skies, where the sky vanishes",
    )
    _add_out(command)
    _add_instrument(command)
    command = _command(commands, "apply", runs["calibrate_apply"], "a raw frame in electrons, with variance and mask")
    command.add_argument("frame", metavar="FRAME", type=Path, help="plain, gzip or tile-compressed FITS")
    command.add_argument(
        "--masters", metavar="DIR", type=Path, help="of calibrate build; without them: what the frame alone gives"
    )
    command.add_argument("--out", type=Path, required=True, metavar="F.fits", help="a new file")
    _add_instrument(command)


def _add_telescope(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--instrument", metavar="NAME|FILE",
        help="the frame is raw, of this camera: one of conf/instruments, or a .yaml file; without it: calibrated already",
    )  # fmt: skip
    command.add_argument("--masters", metavar="DIR", type=Path, help="of calibrate build; without them: as far as it goes")
    command.add_argument(
        "--catalog", metavar="FILE", type=Path, help="stars (ra, dec, mag, ...): for sky coordinates and magnitudes"
    )
    command.add_argument(
        "--site", type=_site, metavar="LON,LAT,HEIGHT", help="of the telescope: degrees east, degrees north, metres"
    )


def _add_instrument(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--instrument",
        required=True,
        metavar="NAME|FILE",
        help="one of conf/instruments (generic: by the header), or a .yaml file",
    )


def _command(commands: Any, name: str, run: Run, what: str) -> Any:
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


def _site(words: str) -> tuple[float, float, float]:
    longitude, latitude, height = (float(word) for word in words.split(","))
    if not (abs(longitude) <= 360 and abs(latitude) <= 90 and -500 <= height <= 10_000):
        raise ValueError
    return longitude, latitude, height


def _planes(words: str) -> tuple[str, ...]:
    chosen = {word.strip().upper() for word in words.split(",")}
    if not chosen <= set(PLANES):
        raise ValueError
    return tuple(plane for plane in PLANES if plane in chosen | {"DIFF", "MASK", "PSF"})
