"""Leave the terminal, and tell the command that was given there how it went."""

import contextlib
import os
import select
import sys
from collections.abc import Callable

READY_SECONDS = 60.0  # how long the command waits for the daemon that it leaves behind


def daemonize(name: str, body: Callable[[Callable[[str], None]], int]) -> int:
    """Run `body(report)` in a daemon called `name`; -> the exit status of the command that started it.

    The command waits until the daemon reports: an empty line, it is ready; anything else, what was wrong.
    """
    told, tell = os.pipe2(os.O_CLOEXEC)
    if os.fork() == 0:
        os.close(told)
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        _leave_terminal()
        os._exit(body(lambda line: _tell(tell, line)))
    os.close(tell)
    os.wait()
    if not select.select([told], [], [], READY_SECONDS)[0]:
        print(f"{name}: started, but not ready after {READY_SECONDS:g} s; see its log", file=sys.stderr)
        return 1
    line = os.read(told, 4096).decode("utf-8", "replace")
    if line == "\n":
        return 0
    print(f"{name}: {line.strip() or 'ended before it was ready; see its log'}", file=sys.stderr)
    return 1


def _tell(fd: int, line: str) -> None:
    with contextlib.suppress(OSError):  # nobody waits any more
        os.write(fd, line.encode("utf-8", "replace") + b"\n")
    os.close(fd)


def _leave_terminal() -> None:
    os.chdir("/")
    os.umask(0o022)
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(nothing, fd)
