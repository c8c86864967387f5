"""The work of one attempt, in a child of its own: photometry, or the program that pipeline.command names.

The child can crash, leak, hang or be killed; `do` then says so.  Photometry reports through a pipe, a program by its exit
status and what it leaves in its folder.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import traceback
import zlib
from dataclasses import dataclass, field, replace
from hashlib import sha256 as sha256_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast3d import assets, bundle, ledger
from ast3d.common import program
from ast3d.common.files import escape
from ast3d.common.link import encode
from ast3d.common.parent import die_with_parent
from ast3d.common.versions import versions
from ast3d.fitshead import first_headers
from ast3d.order import Order

if TYPE_CHECKING:
    from photometry.errors import PhotometryError

VERSIONS = versions()  # as they were loaded: one that is installed later does not work here
CANNOT_RUN = 127  # the status of a child that could not even exec
CHUNK_BYTES = 1 << 20
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Ended:
    """How the child ended.

    `night` is empty where it did not end well; `facts` go into the manifest; `failure` is {reason, blame, retriable} where
    photometry itself said what was wrong; `status` and `signal` are the child's; `usage` its CPU seconds and peak memory.
    """

    night: str
    facts: dict[str, Any] = field(default_factory=dict)
    failure: dict[str, Any] = field(default_factory=dict)
    status: int = 0
    signal: int = 0
    usage: dict[str, float] = field(default_factory=dict)

    @property
    def is_well(self) -> bool:
        """Whether what it made can be published."""
        return not (self.failure or self.signal or self.status)


def do(order: Order, out: Path, frame: int) -> Ended:
    """Have the work done on the frame, open as `frame`; returns when the child has ended.

    Raises OSError where none can be forked.
    """
    receive, send = os.pipe2(os.O_CLOEXEC)
    runner = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(receive)
        _child(order, out, send, runner)
    os.close(send)
    if order.command:  # photometry writes its own, with what it found to work with
        bundle.note(order, {}, VERSIONS)
    with os.fdopen(receive, "rb") as pipe:
        said = pipe.read()
    _, status, used = os.wait4(pid, 0)
    usage = {"cpu_seconds": round(used.ru_utime + used.ru_stime, 3), "peak_mb": round(used.ru_maxrss / 1024, 1)}
    code, number = (0, os.WTERMSIG(status)) if os.WIFSIGNALED(status) else (os.WEXITSTATUS(status), 0)
    report = json.loads(said) if said and not number else {}
    ended = Ended(report.get("night", ""), report.get("facts", {}), report.get("failure", {}), code, number, usage)
    return _dated(ended, order, frame) if ended.is_well and not ended.night else ended


def _dated(ended: Ended, order: Order, frame: int) -> Ended:
    """With the night of a frame that photometry did not read."""
    from photometry.errors import PhotometryError

    try:
        return replace(ended, night=night_of_plain(frame, order.instrument))
    except PhotometryError as error:
        return replace(ended, failure=_failure(error))


def _child(order: Order, out: Path, report: int, runner: int) -> None:
    """Never returns."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    code = CANNOT_RUN
    try:
        die_with_parent(runner)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        said = _failed(_command(order, out)) if order.command else _photometry(order, out)
        _write_all(report, encode(said))
        code = 0
    except BaseException:  # noqa: BLE001  the outermost frame of a process
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _command(order: Order, out: Path) -> str:
    """Become the program; returns only what was wrong where that is impossible."""
    argv = program.fill(order.command, order.frame, str(out), order.telescope)
    os.chdir(out)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        return program.not_runnable(argv[0], error)


def _failed(reason: str) -> dict[str, Any]:
    return {"failure": {"reason": reason, "blame": "environment", "retriable": True}}


def _failure(error: "PhotometryError") -> dict[str, Any]:
    return {"reason": " ".join(str(error).split()), "blame": error.blame, "retriable": error.retriable}


def _photometry(order: Order, out: Path) -> dict[str, Any]:
    """-> the report for the runner: facts and night, or a failure."""
    try:
        from photometry.errors import PhotometryError
        from photometry.pipeline import process
        from photometry.settings import Settings
    except ImportError as error:
        return _failed(f"photometry cannot be loaded: {error}; repair the installation")
    stages = ledger.stage_file(Path(order.attempts), order.task, order.attempt)
    try:
        found = assets.found(order)
        about = found.as_dict()
        bundle.note(order, about, VERSIONS)
        settings = Settings.from_dict(order.photometry)
        done = process(
            Path(order.frame), out, template_path=found.template, kept=Path(order.kept), telescope=found.telescope,
            settings=settings, progress=stages.write_text,
        )  # fmt: skip
    except PhotometryError as error:
        return {"failure": _failure(error)}
    except MemoryError:
        return _failed("out of memory")
    except OSError as error:  # what the frame is to blame for, photometry says itself
        return _failed(" ".join(f"{error.strerror or error}: {escape(str(error.filename or ''))}".split()).rstrip(": "))
    facts = done.as_dict() | {"assets": about}
    facts["notes"] = [*found.notes, *facts.get("notes", [])]
    return {"facts": facts, "night": facts.pop("night", "")}


def night_of_plain(frame: int, instrument: str | None) -> str:
    """The night of a frame that photometry did not read: from its first headers, else `undated`.

    PhotometryError: the instrument, by whose rule it is, cannot be read.
    """
    from photometry.times import night_of

    rule = None
    if instrument:
        from photometry.instrument import load_instrument

        rule = load_instrument(instrument).time
    nights = [night_of(cards, rule) for cards in first_headers(_unzipped(frame))]
    return next((night for night in nights if night != "undated"), "undated")


def _unzipped(fd: int) -> int:
    """The beginning of a compressed frame in memory, or `fd` as it is."""
    if os.pread(fd, 2, 0) != GZIP:
        return fd
    memory = os.memfd_create("header", os.MFD_CLOEXEC)
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    with contextlib.suppress(zlib.error):  # no header to be had: undated
        os.write(memory, unzip.decompress(os.pread(fd, CHUNK_BYTES, 0), CHUNK_BYTES))
    return memory


def sha256(fd: int) -> str:
    """Of the whole file, from its beginning."""
    digest, offset = sha256_of(), 0
    while chunk := os.pread(fd, CHUNK_BYTES, offset):
        digest.update(chunk)
        offset += len(chunk)
    return digest.hexdigest()


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]
