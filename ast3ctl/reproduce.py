"""`ast3ctl reproduce`: an attempt once more, by hand, with what it was given.

It needs no daemon, and touches neither pool nor products nor quarantine: the work gets a copy of the frame, under its
own name, in a new folder, in which it also leaves what it makes.  What the work says goes to stderr as it comes.
"""

import json
import os
import select
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from ast3ctl import tasks
from ast3ctl.given import ASSETS, Given, differences, given
from ast3ctl.problem import WRONG_CALL, ProblemError
from ast3ctl.words import printable
from ast3d.common import program
from ast3d.common.files import sha256
from ast3d.common.layout import Layout
from ast3d.common.versions import versions

_TAIL_BYTES = 2000
_READ_BYTES = 65536
_PHOTOMETRY = "ast3-photometry"


@dataclass(frozen=True)
class Outcome:
    """`reason` is why there are no products, or empty; `notes` say what was not as it was for the attempt."""

    task: str
    products: Path
    reason: str
    then: str
    notes: list[str]

    @property
    def sentence(self) -> str:
        """The one line that says what came out."""
        if not self.reason:
            was = f"; the attempt failed: {self.then}" if self.then else ""
            return f"products in {self.products}{was}"
        if self.reason == self.then:
            return f"failed as the attempt did: {self.reason}"
        was = f"the attempt said: {self.then}" if self.then else "the attempt did not fail"
        return f"failed: {self.reason}; {was}"


def reproduce(layout: Layout, prefix: str, out: Path | None) -> Outcome:
    """Run the last attempt at a discarded or published frame again; ProblemError where that cannot be done."""
    known = tasks.find(layout, prefix, also_published=True)
    if known.finished is None:
        raise ProblemError(f"{known.task} is still at work; reproduce runs discarded and published frames again", WRONG_CALL)
    folder = (out or Path(f"reproduce-{known.task}")).absolute()
    _require_outside(layout, folder)
    _require_new(folder)
    was = given(layout, known.finished)
    for asset in was.assets:
        if not asset.path.is_file():
            raise ProblemError(f"the {ASSETS[asset.kind]} {asset.path} is not there any more")
    try:
        notes = _prepare(was, folder)
    except OSError as error:
        raise ProblemError(f"{error.filename or folder}: {error.strerror}") from error
    failed = f"; it failed: {was.reason}" if was.reason else ""
    for line in [f"attempt {was.attempt} at {known.task}, {was.where}, once more{failed}", *notes]:
        print(printable(f"ast3ctl: {line}"), file=sys.stderr, flush=True)
    reason = _run(was, folder)
    return Outcome(known.task, _products(folder), reason, was.reason, notes)


def _require_outside(layout: Layout, folder: Path) -> None:
    """What ast3d finds in its folders it takes for frames, products or notes of its own."""
    real = Path(os.path.realpath(folder))
    for own in layout.folders.values():
        if real.is_relative_to(os.path.realpath(own)):
            raise ProblemError(f"{folder} is in {own}, which is ast3d's; name a folder elsewhere with --out", WRONG_CALL)


def _require_new(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ProblemError(f"{folder} is not a folder; name a new one with --out", WRONG_CALL)
    if folder.is_dir() and any(folder.iterdir()):
        raise ProblemError(f"{folder} is not empty; name a new folder with --out, nothing is overwritten", WRONG_CALL)


def _frame(was: Given, folder: Path) -> Path:
    return folder / "frame" / was.name


def _products(folder: Path) -> Path:
    return folder / "products"


def _prepare(was: Given, folder: Path) -> list[str]:
    """The frame's copy and the settings into the folder; -> what is not as it was."""
    digest = sha256(was.frame).hex()
    copy = _frame(was, folder)
    copy.parent.mkdir(parents=True)
    shutil.copyfile(was.frame, copy)
    _products(folder).mkdir()
    (folder / "settings.json").write_text(json.dumps(was.photometry, indent=1), encoding="ascii")
    return differences(was, digest, versions(), lambda path: sha256(path).hex())


def _run(was: Given, folder: Path) -> str:
    """-> why there are no products, in the words of the attempt, or an empty string."""
    frame, out = str(_frame(was, folder)), str(_products(folder))
    if was.command:
        argv, what = program.fill(was.command, frame, out, was.telescope), f"pipeline.command {was.command[0]}"
    else:
        argv, what = _by_hand(was, folder), "photometry"
    try:
        status, said = _follow(argv, Path(out), os.environ | was.environment)
    except OSError as error:
        return program.not_runnable(argv[0], error)
    if status == 0:
        return ""
    last = said.strip().rpartition("\n")[2]
    if status < 0:
        reason = program.ended_by(-status)
    elif not was.command and last.startswith(f"{_PHOTOMETRY}: "):
        reason = last.removeprefix(f"{_PHOTOMETRY}: ")
    else:
        reason = program.exited(what, status, said)
    for now, then in ((frame, was.frame_then), (out, was.out_then)):
        reason = reason.replace(now, then or now)
    return reason


def _by_hand(was: Given, folder: Path) -> list[str]:
    argv = [str(Path(sys.executable).parent / _PHOTOMETRY), "process", str(_frame(was, folder))]
    argv += ["--settings", str(folder / "settings.json"), "--out", str(_products(folder))]
    for asset in was.assets:
        argv += [f"--{asset.kind}", str(asset.path.parent if asset.kind == "masters" else asset.path)]
    argv += ["--instrument", was.instrument] if was.instrument else []
    return argv + ([f"--site={','.join(map(str, was.site))}"] if was.site else [])  # which may begin with '-'


def _follow(argv: list[str], folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    """Run to the end and pass on what is said; -> (status, the end of it).  What it leaves running is not waited for."""
    process = subprocess.Popen(
        argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout
    said, pipe = b"", process.stdout.fileno()
    os.set_blocking(pipe, False)
    ended = os.pidfd_open(process.pid)
    watched = [pipe, ended]
    try:
        while True:
            over = ended in select.select(watched, [], [])[0]
            while data := _read(pipe):
                said = (said + data)[-_TAIL_BYTES:]
                sys.stderr.buffer.write(data)
                sys.stderr.flush()
            if over:
                return process.wait(), said.decode("utf-8", "replace")
            if data is not None:
                watched = [ended]
    except KeyboardInterrupt as error:
        process.kill()
        process.wait()
        raise ProblemError("interrupted") from error
    finally:
        os.close(ended)
        process.stdout.close()


def _read(pipe: int) -> bytes | None:
    """What has been said until now: nothing at the end, None where more may follow."""
    try:
        return os.read(pipe, _READ_BYTES)
    except BlockingIOError:
        return None
