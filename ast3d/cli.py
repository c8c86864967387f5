"""Be an ast3d, here or in the background; `ast3d.begin` has settled that it is to."""

import argparse
import sys
from collections.abc import Callable, Sequence

from ast3d.begin import parse, wrong_call
from ast3d.common.daemonize import daemonize
from ast3d.common.layout import Place, locate
from ast3d.common.log import adopt_libraries, open_log
from ast3d.guardian import Call
from ast3d.lock import AlreadyRunningError, Lock
from ast3d.shell import Shell
from ast3d.startup import give_memory_back, in_words, make_folders


def main(argv: Sequence[str] | None = None) -> int:
    """The command without `ast3d.begin`'s patience."""
    return serve(parse(argv))


def serve(options: argparse.Namespace) -> int:
    """-> 0 done, 1 it could not run, 2 the call is wrong, 80 it was stopped on purpose."""
    if wrong := wrong_call(options):
        print(f"ast3d: {wrong}", file=sys.stderr)
        return 2
    place, call = locate(options.root, options.config), Call(options.root, options.config)
    try:
        said = make_folders(place.layout)
    except OSError as error:
        open_log(place.layout.log_file, "INFO", "ast3d").fatal("daemon.not-started", reason=in_words(error))
        print(f"ast3d: {in_words(error)}", file=sys.stderr)
        return 1
    if not options.foreground:
        for line in said:
            print(f"ast3d: {line}", file=sys.stderr)
        return daemonize("ast3d", lambda report: _serve(place, call, said, foreground=False, report=report))
    problems: list[str] = []
    status = _serve(place, call, said, foreground=True, report=problems.append)
    if any(problems):
        print(f"ast3d: {problems[0]}", file=sys.stderr)
        return 1
    return status


def _serve(place: Place, call: Call, said: list[str], *, foreground: bool, report: Callable[[str], None]) -> int:
    """Be the one ast3d until told to stop; -> the exit status.  Reports an empty line when ready, or what was wrong.

    `said`: what is wrong with the folders, for the log.
    """
    give_memory_back()
    log = open_log(place.layout.log_file, "INFO", "ast3d", stderr=foreground)
    try:
        lock = Lock(place.layout.lock)
        adopt_libraries(log)
        for line in said:
            log.error("folder.problem", reason=line)
        shell = Shell(place, call, lock, log, on_ready=lambda: report(""))
    except AlreadyRunningError as error:
        report(str(error))
        return 1
    except OSError as error:
        log.fatal("daemon.not-started", reason=in_words(error))
        report(in_words(error))
        return 1
    return shell.run()
