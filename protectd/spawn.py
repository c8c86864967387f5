"""Start the other daemon so that it owes this one nothing: no parent, no session, no terminal, no descriptor."""

import contextlib
import os
import select
import signal
from collections.abc import Sequence

EXEC_SECONDS = 1.0  # for the kernel to begin the program; a disk may be slow, and this loop does not wait for it
_NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "INVOCATION_ID")


def start(argv: Sequence[str]) -> int:
    """Run a program, detached; -> its pid.  Raises OSError where it cannot be run.

    It is nobody's child: who wants to know of its end opens a pidfd.
    """
    told, tell = os.pipe2(os.O_CLOEXEC)
    try:
        child = os.fork()
    except OSError:
        os.close(told)
        os.close(tell)
        raise
    if child == 0:
        _become(argv, tell)
    os.close(tell)
    try:
        os.waitpid(child, 0)  # it ends at once: it only forks
        return _outcome(told, argv)
    finally:
        os.close(told)


def _outcome(told: int, argv: Sequence[str]) -> int:
    """The pid comes first, then either an error number, or the end: the program has begun."""
    text = os.read(told, 64)
    if not text:
        raise OSError(0, "no process could be made", argv[0])
    if b"!" not in text and select.select([told], [], [], EXEC_SECONDS)[0]:
        text += os.read(told, 64)
    pid, _, failed = text.partition(b"!")
    if failed:
        raise OSError(int(failed), os.strerror(int(failed)), argv[0])
    return int(pid)


def _become(argv: Sequence[str], tell: int) -> None:
    """In the child; never returns."""
    try:
        os.setsid()
        if os.fork() == 0:
            os.write(tell, b"%d" % os.getpid())
            _execute(argv, tell)
    finally:
        os._exit(127)


def _execute(argv: Sequence[str], tell: int) -> None:
    try:
        os.chdir("/")
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
        for name in os.listdir("/proc/self/fd"):  # whoever started this daemon may have left it some of its own
            if int(name) > 2:
                with contextlib.suppress(OSError):  # the listing's own
                    os.set_inheritable(int(name), False)
        with contextlib.suppress(OSError):
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
        environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        os.execve(argv[0], list(argv), environment)
    except (OSError, ValueError) as error:
        os.write(tell, b"!%d" % (getattr(error, "errno", 0) or 22))
