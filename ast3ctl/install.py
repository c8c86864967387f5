"""`ast3ctl install` and `uninstall`: a Debian machine becomes a site's computer, and no longer is one.

What would be done is decided in `install_plan`; here it is shown, or done step by step.  A step that fails ends it with one
line; calling again goes on from there.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from ast3ctl import install_facts as f
from ast3ctl import install_plan
from ast3ctl.install_plan import MakeFolder, Plan, Remove, Run, Step, Write
from ast3ctl.problem import WORK_FAILED, ProblemError
from ast3ctl.words import printable

_STEP_SECONDS = 120.0
DESCRIPTION = {
    "install": "make this Debian machine run ast3: user, groups, folders, configuration, units, cron; what is there is left",
    "uninstall": "remove what install made; data, configuration and logs stay",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of both verbs; `options.verb` tells them apart."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
    parser.add_argument(
        "--prefix", type=Path, metavar="ROOT", default=Path("/"), help="the root of an image of another machine (default: /)"
    )
    if parser.prog.split()[-1] == "install":
        parser.add_argument("--no-start", action="store_true", help="install and enable, and start nothing")
        parser.add_argument(
            "--bin", type=Path, metavar="DIR", help="the folder of the commands (default: where this ast3ctl was installed)"
        )


def run(options: argparse.Namespace) -> int:
    """-> 0 done (also if nothing was to do); ProblemError says what failed."""
    prefix = options.prefix.absolute()
    if not prefix.is_dir():
        raise ProblemError(f"--prefix {options.prefix}: no such folder")
    if os.geteuid() != 0 and not options.dry_run:
        raise ProblemError(f"only root can {options.verb}: `sudo {Path(sys.argv[0]).absolute()} {options.verb}`")
    plan = plan_for(options.verb, prefix, getattr(options, "bin", None), start=not getattr(options, "no_start", False))
    for step in plan.steps:
        if not options.json:
            print(printable(f"would {words(step)}" if options.dry_run else words(step)), flush=True)
        if not options.dry_run:
            do(step, prefix)
    _conclude(options, plan)
    return 0


def plan_for(verb: str, prefix: Path, commands: Path | None, *, start: bool) -> Plan:
    """For the machine as it is now."""
    own = f.sources()
    written = [*install_plan.files(own, Path("/")), f.CONFIG]
    facts = f.find(prefix, commands, written, install_plan.links(own).values())
    return install_plan.install(facts, start=start) if verb == "install" else install_plan.uninstall(facts)


def words(step: Step) -> str:
    """The step in a line."""
    if isinstance(step, Run):
        return f"{step.words}: {' '.join(step.argv)}"
    if isinstance(step, MakeFolder):
        return f"make the folder {step.path}, of {f.USER} ({step.mode:04o})"
    return f"remove {step.path}" if isinstance(step, Remove) else f"{step.words} {step.path} ({step.mode:04o})"


def do(step: Step, prefix: Path) -> None:
    """Carry one step out; ProblemError if that fails."""
    if isinstance(step, Run):
        _call(step)
        return
    path = prefix / step.path.relative_to("/")
    try:
        if isinstance(step, Write):
            _write(path, step.text, step.mode)
        elif isinstance(step, MakeFolder):
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, *f.owner(prefix))
            path.chmod(step.mode)
        elif path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise ProblemError(f"cannot {words(step)}: {error.strerror}") from error


def _write(path: Path, text: str, mode: int) -> None:
    """Whole or not at all; cron and systemd overlook the temporary name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with temporary.open("x") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    temporary.replace(path)


def _call(step: Run) -> None:
    try:
        done = subprocess.run(step.argv, capture_output=True, text=True, timeout=_STEP_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProblemError(f"cannot {words(step)}: {error}") from error
    if done.returncode:
        why = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
        raise ProblemError(f"cannot {words(step)}: {why}", WORK_FAILED)


def _conclude(options: argparse.Namespace, plan: Plan) -> None:
    if options.json:
        done = {"steps": [words(step) for step in plan.steps], "notes": list(plan.notes), "done": not options.dry_run}
        print(json.dumps(done))
        return
    for note in plan.notes:
        print(printable(f"note: {note}"))
    if not plan.steps:
        print(f"nothing to do: {'installed' if options.verb == 'install' else 'not installed'}")
    elif not options.dry_run and options.verb == "install" and not options.no_start:
        print("installed; `ast3ctl status` says how it is")
