"""`ast3ctl stop` and `ast3ctl start`: ended, and started, on purpose.

`stop` says that ast3d and protectd have ended only when they have; nobody starts them after that but on purpose, and nothing
does where the marker of it could not be left.  `start` says the pid of the ast3d that is READY.
"""

import argparse
import contextlib
import fcntl
import os
import pwd
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ast3ctl.answer import Answer
from ast3ctl.problem import ProblemError
from ast3ctl.words import printable
from ast3d.common.clock import boot_id, boottime
from ast3d.common.control_client import ControlError, NoAnswerError, NotRunningError, call
from ast3d.common.layout import Layout
from protectd import files, starts

ENDING_SECONDS = {"now": 20.0, "kill": 40.0, "drain": float("inf")}
LEFT_ALONE_SECONDS = 3.0  # for a protectd to notice that there is nothing to protect any more
READY_SECONDS = 90.0
POLL_SECONDS = 0.05  # of what other processes do, and which tells of itself in no other way
BY_WHOM = "start it as root or as the owner of that folder"
SYSTEMD = Path("/run/systemd/system")
UNITS = ("ast3.target", "ast3d.service", "protectd.service")


def stop(layout: Layout, options: argparse.Namespace) -> Answer:
    """End ast3d and protectd, and keep them ended."""
    try:
        known = call(layout.control_socket, "status")
        asked = call(layout.control_socket, "stop", {"mode": options.mode})
    except (NotRunningError, NoAnswerError):  # one that hangs is ended by protectd, and not started again
        known, asked = {}, {"running": 0}
        _mark(layout)
    except ControlError as error:
        raise ProblemError(f"ast3d cannot be asked to stop: {error}") from error
    pids = {"ast3d": known.get("pid"), "protectd": (known.get("protect") or {}).get("pid")}
    try:
        _await_end(layout, options, pids)
    except KeyboardInterrupt:
        raise ProblemError("not waited for: ast3d ends as it was asked to, and stays ended; see `ast3ctl status`") from None
    left = _at_work(layout)
    data = {"state": "STOPPED", "mode": options.mode, "running": left}
    return Answer(data, [_stopped(options.mode, asked["running"], left)])


def _stopped(mode: str, before: int, left: int) -> str:
    workers = ""
    if left:
        workers = f"; {left} workers go on by themselves, and the next ast3d finds them"
    elif before and mode == "kill":
        workers = f"; {before} workers were ended, and their frames are tried again"
    elif before and mode == "drain":
        workers = f"; {before} workers had come to their end"
    return f"stopped{workers}; `ast3ctl start` starts it again"


def _at_work(layout: Layout) -> int:
    """How many workers there are: each holds the lock of its frame."""
    count = 0
    for lock in (layout.state / "attempts").glob("*.lock"):
        with contextlib.suppress(OSError), lock.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                count += 1
    return count


def _mark(layout: Layout) -> None:
    try:
        layout.run.mkdir(exist_ok=True)
        files.replace(layout.stopped, {"boot": boot_id()})
    except OSError as error:
        raise ProblemError(f"{layout.stopped} cannot be written, so nothing was stopped: {error.strerror}") from error


def _await_end(layout: Layout, options: argparse.Namespace, pids: dict[str, Any]) -> None:
    """Until nobody runs and nobody begins; one that began meanwhile is asked too, one that does not notice is told."""
    begun, alone_since = boottime(), 0.0
    while left := _left(layout, options, pids):
        now = boottime()
        if now - begun > ENDING_SECONDS[options.mode]:
            names = ", ".join(f"{name}, pid {pid or 'unknown'}," for name, pid in left.items())
            so = "`kill -9` ends it, and nothing that ast3d remembers is lost"
            raise ProblemError(f"{names} has not ended after {now - begun:.0f} s: {so}; see `ast3ctl tail`")
        if not files.is_stopped(layout.run, boot_id()):  # systemd was just starting it once more
            _mark(layout)
        if "ast3d" not in left:
            alone_since = alone_since or now
            pid = left.get("protectd", 0)
            alone = now - alone_since
            if pid > 0 and alone > LEFT_ALONE_SECONDS and not _by_systemd(options):  # which would start it again
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGTERM if alone < 2 * LEFT_ALONE_SECONDS else signal.SIGKILL)  # it was stopped
        elif left["ast3d"] != pids["ast3d"]:
            with contextlib.suppress(ControlError):  # it may not listen yet
                call(layout.control_socket, "stop", {"mode": options.mode})
        _pause(left)


def _left(layout: Layout, options: argparse.Namespace, pids: dict[str, Any]) -> dict[str, int]:
    """Who still runs or begins: its pid, 0 where only systemd knows of it."""
    found = {
        "ast3d": _living(pids["ast3d"]) or files.holder(layout.lock) or files.holder(layout.run / "ast3d.begin"),
        "protectd": _living(pids["protectd"]) or files.holder(layout.run / "protectd.lock"),
    }
    left = {name: pid for name, pid in found.items() if pid}
    if _by_systemd(options):
        running = [name for name in found if _unit(name).get("ActiveState") in {"active", "activating"}]
        left = dict.fromkeys(running, 0) | left
    return left


def _living(pid: int | None) -> int:
    try:
        fd = os.pidfd_open(pid) if pid else -1
    except OSError:
        return 0
    if fd < 0 or not pid:
        return 0
    ended = bool(select.select([fd], [], [], 0)[0])
    os.close(fd)
    return 0 if ended else pid


def _pause(left: dict[str, int]) -> None:
    """Until one of them ends, or it is time to look again."""
    fds = []
    for pid in filter(None, left.values()):
        with contextlib.suppress(OSError):
            fds.append(os.pidfd_open(pid))
    select.select(fds, [], [], POLL_SECONDS)
    for fd in fds:
        os.close(fd)


# --- start


def start(layout: Layout, options: argparse.Namespace) -> Answer:
    """Start ast3d, and with it protectd."""
    if now := _status(layout):
        if now["state"] == "DRAINING":
            raise ProblemError(f"ast3d, pid {now['pid']}, is ending, as `ast3ctl stop` asked; start it when it has")
        return _started(now, "runs already")
    try:
        layout.stopped.unlink(missing_ok=True)
        for name in ("ast3d", "protectd"):
            starts.clear(layout.run / f"{name}.starts")
    except PermissionError as error:
        raise ProblemError(f"{error.filename} cannot be removed: {error.strerror}; {BY_WHOM}") from error
    except OSError as error:
        raise ProblemError(f"{error.filename} cannot be removed: {error.strerror}; remove it by hand") from error
    if _by_systemd(options):
        _have_systemd_start(layout)
    elif not files.holder(layout.run / "ast3d.begin"):  # else one begins, and needs to wait no longer
        _start_here(layout, options)
    deadline = boottime() + READY_SECONDS
    while not (now := _status(layout)) or now["state"] == "STARTING":
        if boottime() > deadline:
            raise ProblemError(f"ast3d is not ready after {READY_SECONDS:g} s; see `ast3ctl status` and `ast3ctl tail`")
        time.sleep(POLL_SECONDS)
    return _started(now, "started")


def _started(status: dict[str, Any], how: str) -> Answer:
    data = {"state": status["state"], "pid": status["pid"]}
    return Answer(data, [printable(f"{how}: {status['state']}, pid {status['pid']}")])


def _status(layout: Layout) -> dict[str, Any]:
    """Empty where no ast3d answers."""
    try:
        answer: dict[str, Any] = call(layout.control_socket, "status")
    except ControlError:
        return {}
    return answer


def _by_systemd(options: argparse.Namespace) -> bool:
    """Whether systemd runs this site's ast3d; it knows nothing of what lies below a `--root`."""
    return options.root is None and SYSTEMD.is_dir() and _unit("ast3d").get("LoadState") == "loaded"


def _unit(name: str) -> dict[str, str]:
    said = _systemctl("show", "-p", "LoadState,ActiveState", f"{name}.service")
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def _have_systemd_start(layout: Layout) -> None:
    """By itself as root; else by files that systemd waits for."""
    if os.geteuid() == 0:
        _systemctl("start", "--no-block", *UNITS)
        return
    try:
        for name in ("ast3d", "protectd"):
            (layout.run / f"start-{name}").touch()
    except OSError as error:
        raise ProblemError(f"{error.filename} cannot be written: {error.strerror}; {BY_WHOM}") from error


def _systemctl(*words: str) -> str:
    try:
        done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProblemError(f"systemctl {words[0]}: {error}") from error
    if done.returncode:
        raise ProblemError(f"systemctl {' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _start_here(layout: Layout, options: argparse.Namespace) -> None:
    """As anybody starts it by hand; root, as the owner of the run folder."""
    argv = [sys.executable, "-P", "-m", "ast3d"]
    for name in ("root", "config"):
        if (value := getattr(options, name)) is not None:
            argv += [f"--{name}", value]
    owner = layout.run.stat().st_uid if layout.run.exists() else 0
    identity: dict[str, Any] = {}
    if os.geteuid() == 0 and owner != 0:
        try:
            user = pwd.getpwuid(owner)
        except KeyError:
            raise ProblemError(f"{layout.run} belongs to the uid {owner}, and there is no such user; see to that") from None
        identity = {
            "user": owner,
            "group": user.pw_gid,
            "extra_groups": os.getgrouplist(user.pw_name, user.pw_gid),
        }
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **identity)
    except OSError as error:
        raise ProblemError(f"{argv[0]} cannot be run as the owner of {layout.run}: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise ProblemError(said[-1].removeprefix("ast3d: ") if said else f"ast3d ended with status {done.returncode}")
