"""The command `protectd`."""

import os
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from ast3d.common.about import VERSION
from protectd.node import Node

READY_SECONDS = 90.0  # a back-off may come first
HELP = """\
usage: protectd [--root DIR] [--config F] [--foreground]

Watch ast3d: start it again when it dies, kill it when it hangs (where systemd runs it, systemd starts it
again).  ast3d starts protectd by itself, so that it seldom has to be started by hand.

  --root DIR    the node below DIR, as for ast3d (default: the site's, with its run folder /run/ast3)
  --config F    the site's configuration, for starting an ast3d that has left no word how
  --foreground  stay here and write the log to stderr too
  --version     show it
  --help        show this

protectd goes to the background when it is ready.  SIGTERM ends it.

examples:
  protectd --root /data/ast3
  protectd --foreground          a site, from systemd
"""


class _CallError(Exception):
    """The call is wrong."""


def main(argv: Sequence[str] | None = None) -> int:
    """-> 0 done, 1 it could not run, 2 the call is wrong, 80 it ended for a stop on purpose."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "--help" in words or "-h" in words:
        print(HELP, end="")
        return 0
    if "--version" in words:
        print(f"protectd {VERSION}")
        return 0
    try:
        node, foreground = _parse(words)
    except _CallError as error:
        print(f"protectd: {error}; `protectd --help` shows what there is", file=sys.stderr)
        return 2
    if foreground:
        return _serve(node, _say_wrong, stderr=True)
    return _daemonize(lambda report: _serve(node, report, stderr=False))


def _parse(words: Sequence[str]) -> tuple[Node, bool]:
    """By hand: argparse would be a part of the memory for as long as it runs."""
    values: dict[str, str] = {}
    foreground = False
    rest = iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if word == "--foreground":
            foreground = True
        elif name in {"--root", "--config"}:
            value = value if equals else next(rest, "")
            if not value:
                raise _CallError(f"{name} needs a path")
            values[name] = value
        else:
            raise _CallError(f"{word} means nothing here")
    root, config = values.get("--root"), values.get("--config")
    if config and not Path(config).is_file():
        raise _CallError(f"{config} is not a file; --config names the site's configuration")
    return Node(Path(root).absolute() if root else None, Path(config).absolute() if config else None), foreground


def _serve(node: Node, report: Callable[[str], None], *, stderr: bool) -> int:
    """Be the one protectd.  Reports an empty line when ready, or what was wrong."""
    from protectd.daemon import Daemon
    from protectd.lock import AlreadyRunningError
    from protectd.log import Log

    try:
        daemon = Daemon(node, lambda: report(""), stderr=stderr)
    except AlreadyRunningError as error:
        report(str(error))
        return 1
    except OSError as error:
        reason = f"{error.filename or node.run}: {error.strerror or error}"
        Log(node.log_file, stderr=False)("FATAL", "daemon.not-started", {"reason": reason})
        report(f"{reason}; give a --root that can be written")
        return 1
    try:
        return daemon.run()
    except Exception:  # noqa: BLE001  the outermost loop: whoever finds it gone starts another
        import traceback  # half a megabyte

        daemon.log("FATAL", "daemon.bug", {"trace": traceback.format_exc()})
        return 1


def _say_wrong(line: str) -> None:
    if line:
        print(f"protectd: {line}", file=sys.stderr)


def _daemonize(body: Callable[[Callable[[str], None]], int]) -> int:
    """Run the body in a daemon; -> the exit status of the command that started it, which waits for its report."""
    told, tell = os.pipe2(os.O_CLOEXEC)
    if os.fork() == 0:
        os.close(told)
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.chdir("/")
        os.umask(0o022)
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
        os._exit(body(lambda line: _tell(tell, line)))
    os.close(tell)
    os.wait()
    if not select.select([told], [], [], READY_SECONDS)[0]:
        _say_wrong(f"started, but not ready after {READY_SECONDS:g} s; see its log")
        return 1
    line = os.read(told, 4096).decode("utf-8", "replace")
    if line == "\n":
        return 0
    _say_wrong(line.strip() or "ended before it was ready; see its log")
    return 1


def _tell(fd: int, line: str) -> None:
    try:
        os.write(fd, line.encode("utf-8", "replace") + b"\n")
        os.close(fd)
    except OSError:  # nobody waits any more
        return
