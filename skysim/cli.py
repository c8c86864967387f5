"""`ast3-skysim`: a simulated telescope by hand.

Exit codes: 0 done, 1 the work failed or the demo's checks did, 2 the call is wrong; one line on stderr says why.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from photometry.errors import BadInputError
from skysim.commands import add_commands
from skysim.settings import NightSettings


def _parser() -> argparse.ArgumentParser:
    defaults = NightSettings()
    parser = argparse.ArgumentParser(prog="ast3-skysim", description="A simulated telescope: frames with known truth.")
    commands = parser.add_subparsers(dest="command", required=True)
    night = commands.add_parser("night", help="expose a short night into OUT, with its template and its truth")
    night.add_argument("out", type=Path, metavar="OUT", help="gets template.fits, truth.json, truth.ecsv and frames/")
    night.add_argument("--pool", type=Path, help="where the frames arrive, by rename (default: OUT/frames)")
    night.set_defaults(run=_night)
    demo = commands.add_parser("demo", help="a short night through a real ast3d, with a report and pictures")
    demo.add_argument("dir", type=Path, metavar="DIR", help="a new folder, or an earlier demo's, which it replaces")
    demo.set_defaults(run=_demo)
    for command in (night, demo):
        command.add_argument("--frames", type=int, default=defaults.frames, help="how many (default %(default)s)")
        command.add_argument("--size", type=int, default=defaults.size_pixels, help="pixels on a side (default %(default)s)")
        command.add_argument("--seed", type=int, default=defaults.seed, help="of all that is random (default %(default)s)")
    night.add_argument(
        "--cadence",
        type=float,
        default=defaults.cadence_seconds,
        metavar="SECONDS",
        help="between exposures, in the frames' headers; nothing waits (default %(default)s)",
    )
    add_commands(commands)
    return parser


def _night(args: argparse.Namespace) -> int:
    from skysim.night import expose, plan, template
    from skysim.truth import write_truth

    settings = NightSettings(args.frames, args.size, args.cadence, args.seed)
    pool: Path = args.pool or args.out / "frames"
    args.out.mkdir(parents=True, exist_ok=True)
    pool.mkdir(parents=True, exist_ok=True)
    night = plan(settings)
    template(night, args.out / "template.fits")
    frames = [expose(night, i, pool) for i in range(settings.frames)]
    write_truth(frames, settings, args.out)
    print(f"{len(frames)} frames in {pool}, template and truth in {args.out}")
    return 0


def _demo(args: argparse.Namespace) -> int:
    from skysim.demo import run_demo

    return run_demo(NightSettings(frames=args.frames, size_pixels=args.size, seed=args.seed), args.dir)


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    args = _parser().parse_args(argv)
    try:
        return int(args.run(args))
    except (ValueError, BadInputError) as error:
        print(f"ast3-skysim: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"ast3-skysim: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
