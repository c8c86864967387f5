"""Frames with which something is wrong, through `process`: is each flagged with its word, or refused with its reason?

`python -m bench.measure_bad_input [--keep DIR]`: small frames, simulated once.
"""

import argparse
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.raw_fields import FRAME, Camera, camera_of, coarser, expose
from bench.table import Row, show
from photometry.errors import BadFrameError
from photometry.pipeline import process
from photometry.telescope import Telescope

SIDE = 1_056
OTHER_ARCSEC = 8.0  # of the camera whose frames are crowded
OTHER_INSTRUMENT, ITS_KEY = "ast3", "INSTRUME"


@dataclass(frozen=True)
class Case:
    """words: flags of which one is expected, () for none at all; options: of `ast3-skysim frame`; template: there is one,
    clear; coarse: with the camera of large pixels.
    """

    name: str
    words: tuple[str, ...]
    options: tuple[str, ...]
    template: bool = False
    coarse: bool = False


BLANK = ("few_stars", "no_psf")
CASES = (
    Case("clear", (), (), template=True),
    Case("cloud", ("cloud",), ("--cloud", "1"), template=True),
    Case("patchy", ("patchy",), ("--patchy", "0.2"), template=True),
    Case("twilight", ("twilight",), ("--sky", "17"), template=True),
    Case("trailed", ("trailed",), ("--trail", "40")),
    Case("out of focus", ("out_of_focus",), ("--defocus", "20"), template=True),
    Case("crowded", ("crowded",), (), coarse=True),
    Case("empty", BLANK, ("--cloud", "10")),
    Case("one star", BLANK, ("--cloud", "8")),
)


def row(keep: Path, seed: int, cases: tuple[Case, ...] = CASES) -> Row:
    """How many are; a clear frame that is flagged counts as one that is not right."""
    camera = camera_of(keep, SIDE)
    found = {case.name: _wrong(keep, camera, case, seed) for case in cases}
    found["another instrument"] = _refusal(keep, camera, seed)
    bad = [f"{name}: {what}" for name, what in found.items() if what]
    said = f"{len(found) - len(bad)} of {len(found)}" + (f"; {'; '.join(bad)}" if bad else f": {', '.join(found)}")
    return Row("bad input flagged, a clear frame not", f"{len(found)} of {len(found)}", said, not bad)


def _wrong(keep: Path, camera: Camera, case: Case, seed: int) -> str:
    """What is not as it should be, '' for nothing."""
    seeded = ("--seed", str(seed))
    used = coarser(camera, keep, OTHER_ARCSEC) if case.coarse else camera
    exposed = expose(keep, used, f"{case.name.replace(' ', '-')}-{seed}", *seeded, "--number", "1", *case.options)
    template = expose(keep, camera, f"template-{seed}", *seeded) / FRAME if case.template else None
    flags = _flags(exposed / FRAME, used.telescope(exposed), template)
    if isinstance(flags, BaseException):
        return f"{type(flags).__name__}: {flags}"
    right = bool(set(case.words) & set(flags)) if case.words else not flags
    return "" if right else f"flags {flags or 'none'}"


def _refusal(keep: Path, camera: Camera, seed: int) -> str:
    exposed = expose(keep, camera, f"template-{seed}", "--seed", str(seed))
    said = _flags(exposed / FRAME, Telescope(OTHER_INSTRUMENT), None)
    return "" if isinstance(said, BadFrameError) and ITS_KEY in str(said) else f"not refused by {ITS_KEY}: {said}"


def _flags(frame: Path, telescope: Telescope, template: Path | None) -> list[str] | BaseException:
    """Of the processed frame; or what was raised, whatever that is, for it is to be told of."""
    with tempfile.TemporaryDirectory() as out, ThreadPoolExecutor(1) as alone:
        task = alone.submit(process, frame, Path(out), telescope=telescope, template_path=template)
        return task.exception() or sorted(set(task.result().flags))


def main() -> None:
    """Print the row."""
    parser = argparse.ArgumentParser(prog="python -m bench.measure_bad_input", description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="of the frames (default: a temporary one)")
    parser.add_argument("--seed", type=int, default=1)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print(show([row(said.keep or Path(place), said.seed)]))


if __name__ == "__main__":
    main()
