"""The first lines of the command `ast3d`: what must be settled before anything is loaded that may be broken.

Guarantee: one ast3d of a node begins at a time; none begins while a stop on purpose stands, unless somebody starts it on
purpose, which ends that; and none begins sooner after starts that failed than `protectd.starts` allows, be it the code, a
library or the configuration that makes them fail.  It needs the standard library and nothing else, and whatever it cannot
read or write in the run folder keeps it from nothing: ast3d itself says what is wrong there.
"""

import argparse
import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ast3d.common.about import VERSION
from ast3d.common.clock import boot_id, boottime
from ast3d.common.run import STOPPED, STOPPED_STATUS, make_run, run_folder
from protectd import files, proc, starts, systemd
from protectd.handshake import Hand
from protectd.message import Message

SPEAK_SECONDS = 1.0  # how often it says that it waits

DESCRIPTION = """\
Watch the task pools, process each frame that arrives, publish what was measured.

ast3d goes to the background when it is ready; --foreground keeps it here, with its log on stderr.
It starts protectd, which starts it again should it die or hang; `ast3ctl stop` ends both.
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
    parser.add_argument("--again", action="store_true", help="not while it is stopped on purpose; so protectd starts it")
    parser.add_argument("--version", action="version", version=f"ast3d {VERSION}")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """-> 0 done, 1 it could not run, 2 the call is wrong, 80 it was stopped on purpose."""
    options = parse(argv)
    wrong = wrong_call(options)
    if wrong and not systemd.is_unit("ast3d"):
        print(f"ast3d: {wrong}", file=sys.stderr)
        return 2
    status = wait_for_turn(options, run_folder(options.root))
    if status is not None:
        return status
    from ast3d.cli import serve  # only now: a start that fails in this line has been counted

    return serve(options)


def wrong_call(options: argparse.Namespace) -> str:
    """What is wrong with the call, if anything."""
    if options.config and not Path(options.config).is_file():
        return f"{options.config} is not a file; --config names the site's configuration"
    return ""


def wait_for_turn(options: argparse.Namespace, run: Path) -> int | None:
    """None when ast3d is to begin, now; else the exit status."""
    with contextlib.suppress(OSError):
        make_run(run)
    other = _hold(run / "ast3d.begin") or _runs(options.root, run)
    if other and not systemd.is_unit("ast3d"):  # as a unit it tries again by itself, and no faster than it may
        print(f"ast3d: ast3d runs here already, pid {other}; `ast3ctl status` asks it how it is", file=sys.stderr)
        return 1
    if not options.again:
        with contextlib.suppress(OSError):
            (run / STOPPED).unlink()
    signal.signal(signal.SIGHUP, lambda *_: None)  # there is no configuration to read again, yet
    file = run / "ast3d.starts"
    if not options.again and sys.stdin and sys.stdin.isatty():
        with contextlib.suppress(OSError):
            starts.clear(file)
    rest = Rest(run)
    if rest.is_over() or not starts.begin(file, boot_id(), boottime, rest):
        print("ast3d: stopped on purpose; `ast3ctl start` starts it", file=sys.stderr)
        return STOPPED_STATUS
    return None


class Rest:
    """The wait before the next start, told to protectd, systemd and whoever looks on; a stop on purpose ends it."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._hand: Hand | None = None
        self._seq = 0

    def is_over(self) -> bool:
        """Whether ast3d is not to begin at all."""
        return files.is_stopped(self._run, boot_id())

    def __call__(self, seconds: float, until: float) -> bool:
        """Wait a part of `seconds`; True: give up."""
        if self._seq == 0:
            print(f"ast3d: the last starts failed; it begins in {seconds:.1f} s", file=sys.stderr)
        self._seq += 1
        me = os.getpid()
        words = Message("ast3d", me, proc.start_ticks(me), 0, self._seq, self._seq, "backing off", until)
        self._hand = self._hand or Hand(self._run, "ast3d")
        self._hand.listen()
        self._hand.send("protectd", words)
        systemd.notify(f"STATUS=begins in {seconds:.0f} s, for the last starts failed\nEXTEND_TIMEOUT_USEC=5000000")
        time.sleep(min(seconds, SPEAK_SECONDS))
        return self.is_over()


def _hold(lock: Path) -> int:
    """Be the only one that begins, as long as this process lives; -> the pid of the other where there is one.

    Its descriptor stays open, for nobody to close: that would let go of the lock.
    """
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return 0
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return files.holder(lock) or 0
    return 0


def _runs(root: str | None, run: Path) -> int:
    """The pid of an ast3d that runs already, where it has told of its lock."""
    lock = files.read_facts(run, Path(root) if root is not None else None).get("lock")
    return files.holder(Path(lock)) or 0 if isinstance(lock, str) and "\0" not in lock else 0
