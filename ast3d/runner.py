"""The runner: one process a task.  It has the work done by a child, and publishes what the child made.

Guarantee: products appear under products/TELESCOPE/NIGHT/FRAME-ID/ whole, synced, with their manifest, by one rename that
replaces nothing; or not at all.  Where several nodes share them, one that another has taken over from publishes nothing.
However the child ends, killed or not, the attempt's account says how.  The runner does not need ast3d, nor the nursery, to
be there any more.
"""

import contextlib
import errno
import fcntl
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ast3d import fence, ledger, processes, work
from ast3d.claim import Claim
from ast3d.common import clock, program
from ast3d.common.files import escape, one_line, remove, rename_noreplace, sync_tree, sync_up
from ast3d.common.parent import become_subreaper
from ast3d.entry import open_regular, published
from ast3d.frameid import frame_id
from ast3d.order import Order
from ast3d.task import Blame, Entry, Place

TAIL_BYTES = 2000
MACHINE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOMEM)  # a program says them in words
CONFIGURED = ("photometry", "template", "instrument", "calibration", "catalog", "site")  # of an order, into the manifest
FULL_BYTES = 1 << 20  # a disk with less than this is full


class AttemptFailedError(Exception):
    """An attempt ended without products, with what ast3d needs to judge it."""

    def __init__(
        self, reason: str, blame: Blame, *, retriable: bool = True, changed: bool = False, fenced: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason, self.blame, self.retriable, self.changed, self.fenced = reason, blame, retriable, changed, fenced


def main(message: dict[str, Any]) -> None:
    """In a fresh child of the nursery; never returns."""
    code = 1
    try:
        run(Order(**message))
        code = 0
    except BaseException as error:  # noqa: BLE001  the outermost frame of a process
        print(f"runner: {error!r}", file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(order: Order) -> None:
    """The whole attempt.  Raises OSError where even the account cannot be written."""
    os.setsid()
    processes.give_way()
    become_subreaper()
    asked_to_end: list[int] = []  # SIGTERM is for the work; this process tells how that ended
    signal.signal(signal.SIGTERM, lambda number, _: asked_to_end.append(number))
    attempts = Path(order.attempts)
    redirect_output(ledger.output_file(attempts, order.task, order.attempt))
    pid = os.getpid()
    account = ledger.Account(
        order.task, order.attempt, order.telescope, order.name, order.size, order.mtime_ns, pid,
        processes.start_ticks(pid), clock.boot_id(), clock.boottime(), fingerprint=order.fingerprint, claim=order.claim,
    )  # fmt: skip
    ledger.write(attempts, account)
    try:
        night, found = attempt(order, account, asked_to_end)
        account = replace(account, ended=True, night=night, found=found)
    except AttemptFailedError as error:
        account = replace(account, ended=True, reason=error.reason, blame=error.blame, retriable=error.retriable)
        account = replace(account, changed=error.changed, fenced=error.fenced)
    except OSError as error:
        account = replace(account, ended=True, reason=one_line(error), blame="environment")
    except Exception as error:  # noqa: BLE001  this process' outermost frame: the account must say how it ended
        account = replace(account, ended=True, reason=f"the runner failed: {one_line(error)}", blame="environment")
    ledger.write(attempts, replace(account, tail="" if account.night else tail(attempts, order)))


def redirect_output(path: Path) -> None:
    """Take stdin from nowhere, stdout and stderr to a file: a pipe that loses its reader would kill the work."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
    for fd, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(fd, target)
    os.close(nothing)
    os.close(output)


def attempt(order: Order, account: ledger.Account, asked_to_end: list[int]) -> tuple[str, bool]:
    """Work and publish; -> the night under which the products stand, and whether they stood before."""
    frame = open_regular(Path(order.frame))
    if frame is None:
        require_there(order)
        raise AttemptFailedError(f"{escape(order.name)} cannot be opened for reading", "environment")
    hold(order)
    if night := published(Path(order.products) / order.telescope, order.task):
        return night, True
    require_unchanged(order, frame)
    require_unfenced(order, fence.raise_to, order.node)
    remove(order.out)
    order.out.mkdir(parents=True)
    report = work.do(order, order.out, frame)
    processes.end_strays()
    seconds = clock.boottime() - account.started
    require_unchanged(order, frame)
    if not report.is_well and (night := published(Path(order.products) / order.telescope, order.task)):
        return night, True  # another node was faster, and has taken the frame from under this one
    check(report, order)
    if asked_to_end:
        raise AttemptFailedError("what it had made by then is not whole", "frame")
    return publish(order, report, frame, seconds), False


def hold(order: Order) -> None:
    """Be the only worker at this frame as long as this process and its work live, whoever else forgot it."""
    lock = os.open(Path(order.attempts) / f"{order.task}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise AttemptFailedError("another worker is at this frame already", "environment") from error


def require_there(order: Order) -> None:
    """Raise for a frame that somebody took out of the pool: nothing failed.  OSError where the pool does not say."""
    try:
        os.lstat(order.frame)
    except FileNotFoundError as error:
        raise AttemptFailedError("the frame has left the pool", "environment", changed=True) from error


def require_unchanged(order: Order, frame: int) -> None:
    """The frame that is open is the one that the order means, and its name, if it still has one, names no other."""
    about = os.fstat(frame)
    entry = Entry(Place(order.telescope, order.name), order.size, order.mtime_ns)
    same = (about.st_size, about.st_mtime_ns) == (order.size, order.mtime_ns) and frame_id(entry, frame) == order.task
    with contextlib.suppress(FileNotFoundError):
        named = os.lstat(order.frame)
        same = same and (named.st_dev, named.st_ino) == (about.st_dev, about.st_ino)
    if not same:
        raise AttemptFailedError("the frame was changed, or another took its name", "environment", changed=True)


def require_unfenced(order: Order, ask: Callable[..., None], *more: Any) -> None:
    """Raise where another node works for the telescope by now.  OSError where the store does not say."""
    if order.claim is None:
        return
    try:
        ask(Path(order.products), order.telescope, Claim(**order.claim), *more)
    except fence.FencedError as error:
        raise AttemptFailedError(str(error), "environment", fenced=True) from error


def check(report: work.Ended, order: Order) -> None:
    """Raise for work that did not end well.  A failure on a machine that is itself in trouble is the machine's."""
    out = escape(str(order.out))
    if order.out.is_symlink() or not order.out.is_dir():
        raise AttemptFailedError(f"{out}, the folder for the products, was removed or replaced", "environment")
    if not report.is_well and is_full(order.out):
        raise AttemptFailedError(f"no space left for products on the disk of {out}; make room", "environment")
    if report.failure:
        failure = report.failure
        raise AttemptFailedError(failure["reason"], failure["blame"], retriable=failure["retriable"])
    if report.signal:
        # SIGKILL is how the kernel ends who takes too much memory; what ast3d itself kills, it judges itself
        blame: Blame = "environment" if report.signal == signal.SIGKILL else "frame"
        raise AttemptFailedError(program.ended_by(report.signal), blame)
    if report.status:
        what = f"pipeline.command {order.command[0]}" if order.command else "photometry"
        said = tail(Path(order.attempts), order)
        of_the_machine = any(os.strerror(number) in said for number in MACHINE_ERRORS)
        reason = program.exited(what, report.status, said)
        raise AttemptFailedError(reason, "environment" if of_the_machine else "frame")


def is_full(folder: Path) -> bool:
    """Whether its disk has no room for even a small file."""
    about = os.statvfs(folder)
    return about.f_bavail * about.f_frsize < FULL_BYTES or (about.f_files > 0 and about.f_favail == 0)


def publish(order: Order, report: work.Ended, frame: int, seconds: float) -> str:
    """Manifest, sync, rename, sync.  Products that stand already are the success, whoever made them."""
    from photometry.errors import EnvironmentFailedError
    from photometry.manifest import write_manifest

    facts = {
        "task": order.task,
        "telescope": order.telescope,
        "name": escape(order.name),
        "attempt": order.attempt,
        "night": report.night,
        "seconds": round(seconds, 3),
        "published": clock.stamp(),
        "frame": {"bytes": order.size, "sha256": work.sha256(frame)},
        "pipeline": order.command or "photometry",
        "usage": report.usage,
        "versions": work.VERSIONS,
        "configuration": {name: getattr(order, name) for name in CONFIGURED},
        "assets": {},
        **({"node": order.node, "claim": order.claim} if order.claim else {}),
        **report.facts,
    }
    try:
        write_manifest(order.out, facts)
    except EnvironmentFailedError as error:
        raise AttemptFailedError(str(error), "environment") from error
    os.fsync(frame)  # its camera may not have: no products without the frame
    sync_tree(order.out)
    target = Path(order.products) / order.telescope / report.night / order.task
    target.parent.mkdir(parents=True, exist_ok=True)
    require_unfenced(order, fence.check)
    try:
        rename_noreplace(order.out, target)
    except FileExistsError as error:
        if not (target / "manifest.json").exists():
            problem = f"{escape(str(target))} is in the way: it has no manifest; move it away"
            raise AttemptFailedError(problem, "environment") from error
        remove(order.out)
    sync_up(target.parent, Path(order.products))
    return report.night


def tail(attempts: Path, order: Order) -> str:
    """The end of what the work said."""
    path = ledger.output_file(attempts, order.task, order.attempt)
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(file.tell() - TAIL_BYTES, 0))
            return file.read(TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
