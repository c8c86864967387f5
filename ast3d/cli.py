"""The command `ast3d`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ast3d.common.about import VERSION
from ast3d.common.layout import Place, locate
from ast3d.common.log import adopt_libraries, open_log
from ast3d.shell import Shell
from ast3d.startup import AlreadyRunningError, daemonize, give_memory_back, hold_lock, in_words, make_folders

DESCRIPTION = """\
Watch the task pools, process each frame that arrives, publish what was measured.

ast3d goes to the background when it is ready; --foreground keeps it here, with its log on stderr.
SIGTERM ends it within a second (workers finish by themselves and are found again), SIGHUP has it
read its configuration.
"""
EPILOG = """\
examples:
  ast3d --root /data/ast3              everything below one folder; frames go to incoming/ast3-1/
  ast3d --root /data/ast3 --foreground
  ast3d --config /etc/ast3/ast3d.yaml  a site: the folders are where the configuration says
  ast3ctl --root /data/ast3 status     how it is
"""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="ast3d", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", metavar="DIR", help="put everything below DIR; DIR/etc/ast3d.yaml may configure it")
    parser.add_argument("--config", metavar="F", help="the site's configuration (default: /etc/ast3/ast3d.yaml)")
    parser.add_argument("--foreground", action="store_true", help="stay here and write the log to stderr too")
    parser.add_argument("--version", action="version", version=f"ast3d {VERSION}")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """-> 0 done, 1 it could not run, 2 the call is wrong."""
    options = parse(argv)
    if options.config and not Path(options.config).is_file():
        print(f"ast3d: {options.config} is not a file; --config names the site's configuration", file=sys.stderr)
        return 2
    place = locate(options.root, options.config)
    try:
        said = make_folders(place.layout)
    except OSError as error:
        print(f"ast3d: {in_words(error)}", file=sys.stderr)
        return 1
    if not options.foreground:
        for line in said:
            print(f"ast3d: {line}", file=sys.stderr)
        return daemonize(lambda report: _serve(place, said, foreground=False, report=report))
    problems: list[str] = []
    _serve(place, said, foreground=True, report=problems.append)
    if any(problems):
        print(f"ast3d: {problems[0]}", file=sys.stderr)
        return 1
    return 0


def _serve(place: Place, said: list[str], *, foreground: bool, report: Callable[[str], None]) -> None:
    """Be the one ast3d until told to stop.  Reports an empty line when ready, or what was wrong.

    `said`: what is wrong with the folders, for the log.
    """
    give_memory_back()
    try:
        hold_lock(place.layout.lock)
        log = open_log(place.layout.log_file, "INFO", "ast3d", stderr=foreground)
        adopt_libraries(log)
        for line in said:
            log.error("folder.problem", reason=line)
        shell = Shell(place, log, on_ready=lambda: report(""))
    except (AlreadyRunningError, OSError) as error:
        report(in_words(error) if isinstance(error, OSError) else str(error))
        return
    shell.run()


if __name__ == "__main__":
    sys.exit(main())
