"""`ast3ctl`: the command line.

Exit codes: 0 done, 1 the work failed (the daemon does not run, or refuses), 2 the call is wrong.  Whatever fails says so
in one line on stderr, with what to do.
"""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ast3ctl import ha, install, tail
from ast3ctl.problem import WORK_FAILED, WRONG_CALL, ProblemError
from ast3ctl.verbs import VERBS
from ast3ctl.words import printable
from ast3d.common.layout import Layout, locate
from ast3d.common.logline import LEVELS

_EXAMPLES = """\
examples:
  ast3ctl status                     is all well?  exit code 0 if ast3d runs
  ast3ctl tasks                      frames at work and in quarantine
  ast3ctl why kb13475_0030           what happened to a frame (a unique beginning of its name is enough)
  ast3ctl retry kb13475_0030-5f2a    try it again, now
  ast3ctl reproduce kb13475_0030     run its last attempt again by hand, with all that it was given
  ast3ctl pause --for 30m            no new work for half an hour
  ast3ctl tail --level ERROR         what went wrong last
  ast3ctl stop --drain               no new work; end ast3d and protectd when the workers have ended
  ast3ctl start                      and on again
  ast3ctl ha status                  which node works for which telescope
  ast3ctl relog verify               is the recovery log whole?
  ast3ctl --root ~/night status      a node that lives below one folder (ast3d --root ~/night)
"""
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|min|h|d)?")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_MOST_SECONDS = 30 * 86400


class _Parser(argparse.ArgumentParser):
    """One line for a wrong call."""

    def error(self, message: str) -> NoReturn:
        self.exit(WRONG_CALL, f"ast3ctl: {message}; see `{self.prog} --help`\n")


def seconds(text: str) -> float:
    """`90`, `90s`, `30m`, `2h`, `1d` in seconds."""
    match = _DURATION.fullmatch(text)
    value = float(match[1]) * _SECONDS[match[2] or "s"] if match else 0.0
    if not 1 <= value <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(f"found {text!a}, allowed: 1s to 30d, such as 90s, 30m, 2h, 1d")
    return value


def line_count(text: str) -> int:
    """A number of lines."""
    if not re.fullmatch("[0-9]{1,6}", text):
        raise argparse.ArgumentTypeError(f"found {text!a}, allowed: 0 to 999999")
    return int(text)


def task(text: str) -> str:
    """The beginning of a frame-id."""
    if not re.fullmatch(r"[A-Za-z0-9_+][A-Za-z0-9_.+-]{0,127}", text):
        raise argparse.ArgumentTypeError(
            f"found {text!a}, allowed: a frame-id as `ast3ctl tasks` shows it, or its beginning"
        )
    return text


def parser() -> argparse.ArgumentParser:
    """The options that all verbs share may stand before or after the verb."""
    top = _Parser(
        prog="ast3ctl",
        description="The operator's hand on ast3d.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _shared(top, None)
    verbs = top.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, words: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=words, description=words, allow_abbrev=False)
        _shared(sub, argparse.SUPPRESS)
        return sub

    verb("status", "how ast3d is, what it has to do, and why it is not READY")
    verb("tasks", "the frames at work and those in quarantine")
    for name, words in (
        ("why", "what happened to a frame and what happens next; also for finished ones, also without the daemon"),
        ("retry", "try a failed or quarantined frame again, now"),
    ):
        verb(name, words).add_argument("task", metavar="TASK", type=task, help="frame-id, or a unique beginning of it")
    again = verb(
        "reproduce", "run the last attempt at a discarded or published frame again, here and now, without the daemon"
    )
    again.add_argument("task", metavar="TASK", type=task, help="frame-id, or a unique beginning of it")
    again.add_argument(
        "--out", type=Path, metavar="DIR", help="a new or empty folder for what comes out (default: reproduce-TASK, here)"
    )
    verb("pause", "start no new work for a while; what runs goes on").add_argument(
        "--for", dest="for_seconds", metavar="TIME", type=seconds, default="2h", help="90s, 30m, 2h, 1d (default: 2h)"
    )
    verb("resume", "end a pause")
    verb("acknowledge", "that records were lost has been seen: `status` tells it no longer")
    ha.add_arguments(verb("ha", ha.DESCRIPTION))
    _power(verb)
    for name, words in install.DESCRIPTION.items():
        install.add_arguments(verb(name, words))
    end = verb("tail", "the end of the routine log; works without the daemon")
    end.add_argument("--lines", type=line_count, default=20, metavar="N", help="so many (default: 20)")
    end.add_argument("--level", choices=LEVELS, default="DEBUG", help="at least so important (default: DEBUG, all)")
    end.add_argument("--follow", action="store_true", help="go on as lines are written, until Ctrl-C")
    _relog(verb("relog", "the recovery log: what ast3d remembers; it is only read, and works without the daemon"))
    return top


def _power(verb: Callable[[str, str], argparse.ArgumentParser]) -> None:
    off = verb("stop", "end ast3d and protectd; they stay ended until the machine boots or they are started on purpose")
    modes = off.add_mutually_exclusive_group()
    for mode, words in (
        ("drain", "start no new work, and end when the workers have ended"),
        ("kill", "end the workers too (SIGTERM, and SIGKILL after 5 s); their frames are tried again"),
    ):
        modes.add_argument(f"--{mode}", dest="mode", action="store_const", const=mode, help=words)
    off.set_defaults(mode="now")
    verb("start", "start ast3d, and with it protectd, after a stop or where they do not run")
    check = verb("ensure", "start what does not run and end what hangs, unless it was stopped on purpose; cron does this")
    check.add_argument("--bin", metavar="DIR", help="where the programs ast3d and protectd are (default: as they ran last)")


def _relog(verb: argparse.ArgumentParser) -> None:
    actions = verb.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, words in (
        ("show", "its records, one a line: number, boottime, beginning of the boot id, type, fields"),
        ("verify", "what is damaged or missing, segment by segment; exit code 1 if anything is"),
    ):
        action = actions.add_parser(name, help=words, description=words, allow_abbrev=False)
        _shared(action, argparse.SUPPRESS)
        action.add_argument(
            "folder",
            nargs="?",
            type=Path,
            metavar="FOLDER",
            help="a folder of segments, such as a copy (default: the node's)",
        )
        if name == "show":
            action.add_argument("--last", type=line_count, metavar="N", help="only the last so many (default: all)")


def _shared(to: argparse.ArgumentParser, default: str | None) -> None:
    to.add_argument("--root", metavar="DIR", default=default, help="the folder that ast3d was given with --root")
    to.add_argument(
        "--config", metavar="F", default=default, help="the site's configuration (default: /etc/ast3/ast3d.yaml)"
    )
    to.add_argument("--json", action="store_true", default=default or False, help="the result as JSON, for programs")


def main(argv: list[str] | None = None) -> int:
    """The exit code; argparse leaves by itself with 0 (--help) or 2."""
    options = parser().parse_args(argv)
    try:
        return _run(options)
    except ProblemError as problem:
        print(f"ast3ctl: {printable(problem)}", file=sys.stderr)
        return problem.code
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # `ast3ctl tail | head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return WORK_FAILED


def _run(options: argparse.Namespace) -> int:
    layout = _layout(options)
    if options.verb == "tail":
        _tail(layout, options)
        return 0
    if options.verb in {"install", "uninstall"}:
        return install.run(options)
    answer = VERBS[options.verb](layout, options)
    for line in [json.dumps(answer.data)] if options.json else answer.lines:
        print(line)
    sys.stdout.flush()
    if answer.problem:
        raise ProblemError(answer.problem)
    return 0


def _layout(options: argparse.Namespace) -> Layout:
    if options.root is not None and not Path(options.root).is_dir():
        raise ProblemError(f"--root {options.root!a}: no such folder", WRONG_CALL)
    if options.config is not None and not Path(options.config).is_file():
        raise ProblemError(f"--config {options.config!a}: no such file", WRONG_CALL)
    return locate(options.root, options.config).layout


def _tail(layout: Layout, options: argparse.Namespace) -> None:
    shown = tail.as_json if options.json else str
    lines, end = tail.last_lines(layout.log_file, options.lines, options.level)
    for line in lines:
        print(shown(line))
    sys.stdout.flush()
    if options.follow:
        for line in tail.follow(layout.log_file, end, options.level):
            print(shown(line), flush=True)


if __name__ == "__main__":
    sys.exit(main())
