"""The commands that make raw frames of a real camera, and pairs to judge a subtraction with."""

import argparse
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from skysim.settings import CalibrationSettings, FrameSettings, PairSettings

_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")

_Settings = TypeVar("_Settings", FrameSettings, CalibrationSettings, PairSettings)
_Option = tuple[str, str, str]  # its name, its metavar, what it is


def add_commands(commands: Any) -> None:
    """Add frame, calibrations and pair to the parsers of `ast3-skysim`."""
    _add_frame(commands)
    _add_calibrations(commands)
    _add_pair(commands)


def _add_frame(commands: Any) -> None:
    command = commands.add_parser(
        "frame", help="one raw frame of a field on the sky, with its truth and the site's star catalog",
        description="One raw frame of a real camera, anywhere on the sky: frame.fits, sources.ecsv, truth.json, truth.wcs, "
        "catalog.fits.  Frames of one seed show one sky.",
    )  # fmt: skip
    command.add_argument("out", type=Path, metavar="OUT", help="a folder")
    _add_camera(command)
    command.add_argument("--ra", type=float, required=True, dest="ra_deg", metavar="DEG", help="ICRS")
    command.add_argument("--dec", type=float, required=True, dest="dec_deg", metavar="DEG", help="ICRS; the poles too")
    words = {
        "rotation_degrees": ("--rotation", "DEG", "position angle of the detector's +y, north through east"),
        "seconds": ("--seconds", "S", "exposure"),
        "seed": ("--seed", "N", "of the sky and of all that is random in a series"),
        "number": ("--number", "N", "of the frame in a series: the telescope drifts, the sky stays"),
        "fwhm_pixels": ("--fwhm", "PX", "of a star in the middle"),
        "defocus_pixels": ("--defocus", "PX", "diameter of an unfocused star"),
        "trail_pixels": ("--trail", "PX", "length of each star where the telescope did not follow"),
        "distortion_pixels": ("--distortion", "PX", "of the optics in the corners"),
        "cloud_mag": ("--cloud", "MAG", "extinction everywhere"),
        "patchy_mag": ("--patchy", "MAG", "rms of patches of cloud"),
        "sky_mag": ("--sky", "MAG", "of a square arcsecond (default: dark); 15 is twilight"),
        "sky_gradient": ("--gradient", "FRACTION", "by which the sky changes over the frame"),
        "satellites": ("--satellites", "N", "trails across the frame"),
    }
    _add_options(command, FrameSettings, words)
    command.add_argument("--mirrored", action="store_true", help="east is to the right of north")
    command.add_argument("--preview", action="store_true", help="write preview.png too")
    command.set_defaults(run=_frame)


def _add_calibrations(commands: Any) -> None:
    command = commands.add_parser(
        "calibrations", help="bias, dark and twilight flat frames of the same camera",
        description="Raw calibration frames of one camera: bias-NNNN.fits, dark-NNNN.fits, flat-NNNN.fits.",
    )  # fmt: skip
    command.add_argument("out", type=Path, metavar="OUT", help="a folder")
    _add_camera(command)
    words = {
        "biases": ("--biases", "N", "how many"),
        "darks": ("--darks", "N", "how many"),
        "flats": ("--flats", "N", "how many"),
        "dark_seconds": ("--dark-seconds", "S", "exposure of a dark"),
    }
    _add_options(command, CalibrationSettings, words)
    command.set_defaults(run=_calibrations)


def _add_pair(commands: Any) -> None:
    command = commands.add_parser(
        "pair", help="a science frame and a template, with all that a difference can be judged by",
        description="sci.fits and ref.fits, of each its mask, variance and noiseless light; sources.csv, truth.json.",
    )  # fmt: skip
    command.add_argument("out", type=Path, metavar="OUT", help="a folder")
    words = {
        "size_pixels": ("--size", "PX", "on a side"),
        "seed": ("--seed", "N", "of all that is random"),
        "transients": ("--transients", "N", "how many (default: one for each 50,000 pixels, 200 at least)"),
        "pixels_per_star": ("--pixels-per-star", "PX", "how crowded it is"),
        "fwhm_pixels": ("--fwhm", "PX", "of the science frame"),
        "template_fwhm_pixels": ("--template-fwhm", "PX", "of the template"),
        "scale": ("--scale", "F", "science / template flux"),
        "misregistration_pixels": ("--misregistration", "PX", "amplitude of a smooth one"),
        "dx_pixels": ("--dx", "PX", "shift of the template's sources"),
        "dy_pixels": ("--dy", "PX", "shift of the template's sources"),
        "rotation_degrees": ("--rotation", "DEG", "of the template's sources about the centre"),
    }
    _add_options(command, PairSettings, words)
    command.set_defaults(run=_pair)


def _add_options(command: argparse.ArgumentParser, kind: type[_Settings], words: dict[str, _Option]) -> None:
    """An option for each of these settings, of the setting's type and default."""
    for field in fields(kind):
        if field.name in words:
            option, metavar, what = words[field.name]
            told = what if field.default is None else f"{what} (default {field.default})"
            number = int if "int" in str(field.type) else float
            command.add_argument(option, dest=field.name, type=number, default=field.default, metavar=metavar, help=told)


def _add_camera(command: argparse.ArgumentParser) -> None:
    command.add_argument("--instrument", default="ast3", metavar="NAME", help="a name or a .yaml file (default %(default)s)")
    command.add_argument(
        "--camera", type=int, default=FrameSettings.camera, metavar="N",
        help="seed of the camera's fixed patterns: flat, dark, bias (default %(default)s)",
    )  # fmt: skip
    command.add_argument("--filter", default=FrameSettings.filter, help="as the instrument spells it (default %(default)s)")


def _frame(args: argparse.Namespace) -> int:
    settings = _from(FrameSettings, args)
    _one_thread()
    from photometry.instrument import load_instrument
    from skysim.detector.chip import chip_of
    from skysim.raw import expose
    from skysim.raw_files import write_exposure

    chip = chip_of(load_instrument(args.instrument))
    frame = expose(chip, settings)
    args.out.mkdir(parents=True, exist_ok=True)
    write_exposure(frame, chip, settings, args.out, preview=args.preview)
    ny, nx = chip.shape
    print(f"{frame.sources.x.size} stars on {nx} x {ny} pixels; frame, truth and catalog in {args.out}")
    return 0


def _calibrations(args: argparse.Namespace) -> int:
    settings = _from(CalibrationSettings, args)
    _one_thread()
    from photometry.instrument import load_instrument
    from skysim.calibrations import write_calibrations
    from skysim.detector.chip import chip_of

    chip = chip_of(load_instrument(args.instrument))
    args.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(write_calibrations(chip, settings, args.out))} frames in {args.out}")
    return 0


def _pair(args: argparse.Namespace) -> int:
    settings = _from(PairSettings, args)
    _one_thread()
    from skysim.pair import make_pair
    from skysim.pair_files import write_pair

    pair = make_pair(settings)
    args.out.mkdir(parents=True, exist_ok=True)
    write_pair(pair, settings, args.out)
    print(f"{pair.transients.x.size} transients among {pair.stars.x.size} stars; science, template and truth in {args.out}")
    return 0


def _from(kind: type[_Settings], args: argparse.Namespace) -> _Settings:
    """The settings that the arguments of the same names say."""
    return kind(**{field.name: getattr(args, field.name) for field in fields(kind)})


def _one_thread() -> None:
    """Threads of linear algebra on small matrices only wait for each other; read when numpy is loaded, which comes after."""
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
