"""The attempt's own account: state/attempts/TASK.N.json, written by its runner when it starts and when it has ended.

It is how ast3d finds the workers of an earlier ast3d and learns how a worker ended, whoever was there to listen.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ast3d import processes
from ast3d.common import clock
from ast3d.common.files import write_durable, write_whole
from ast3d.task import Blame, Entry, Place


@dataclass(frozen=True)
class Account:
    """Who runs which attempt of which frame since when; and, when `ended`, with what result.

    `night` is not empty when the products are published; otherwise `reason`, `blame`, `retriable` and `tail` say why not;
    `changed`: the frame was not, or not any more, the one that was meant; `found`: the products stood before; `fenced`: the
    work of its `claim` is accepted no more.
    """

    task: str
    attempt: int
    telescope: str
    name: str
    size: int
    mtime_ns: int
    pid: int
    ticks: int
    boot_id: str
    started: float
    ended: bool = False
    night: str = ""
    reason: str = ""
    blame: Blame = "frame"
    retriable: bool = True
    changed: bool = False
    tail: str = ""
    fingerprint: str = ""
    found: bool = False
    fenced: bool = False
    claim: dict[str, Any] | None = None

    @property
    def entry(self) -> Entry:
        return Entry(Place(self.telescope, self.name), self.size, self.mtime_ns)

    @property
    def running(self) -> bool:
        """Whether the very process that began it is alive."""
        return not self.ended and self.boot_id == clock.boot_id() and processes.start_ticks(self.pid) == self.ticks

    def lost(self, folder: Path) -> "Account":
        """The account of a worker that ended without a word; `folder` is where it would have written."""
        reason = "the worker was killed, or ended without a word"
        if not folder.is_dir():
            reason = f"{folder}, where workers tell how they end, is no folder; start ast3d again: it makes one"
        with contextlib.suppress(OSError):
            if os.statvfs(folder).f_bavail == 0:
                reason = f"no space left for what ast3d remembers in {folder}; make room"
        return replace(self, reason=reason, blame="environment")


def account_file(folder: Path, task: str, attempt: int) -> Path:
    """Where an attempt's account is."""
    return folder / f"{task}.{attempt}.json"


def stage_file(folder: Path, task: str, attempt: int) -> Path:
    """Where a worker writes the stage that it is in."""
    return folder / f"{task}.{attempt}.stage"


def output_file(folder: Path, task: str, attempt: int) -> Path:
    """What the worker said on stdout and stderr."""
    return folder / f"{task}.{attempt}.out"


def write(folder: Path, account: Account) -> None:
    """Durable when it tells the end; of its beginning nothing is left to tell after a power cut.  OSError."""
    put = write_durable if account.ended else write_whole
    put(account_file(folder, account.task, account.attempt), json.dumps(asdict(account)).encode("ascii"))


def read(path: Path) -> Account | None:
    """The account, or None where there is none that can be understood."""
    try:
        return Account(**json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def read_all(folder: Path) -> list[Account]:
    """Every account that is there."""
    return [account for path in sorted(folder.glob("*.json")) if (account := read(path))]
