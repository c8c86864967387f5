"""The ast3d that is measured: a real one, started as a user starts it, on a real disk, with `probe` as its program.

Everything is seen from outside: frames go in, lines of its log and of the probe's ledger come out.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inotify_simple import INotify, flags

from ast3d.common.clock import boottime
from ast3d.common.files import sync_dir

BIN = Path(sys.executable).parent
HERE = Path(__file__).parent
PATIENCE_SECONDS = 300.0
CONFIGURATION = """\
pipeline: {{command: [{command}]}}
worker: {{slots: 2, soft_seconds: 80000, hard_seconds: 86400}}
roulog: {{level: DEBUG}}
protect: {{enabled: false}}
{more}
...
"""


class BenchError(Exception):
    """A figure could not be taken; the text says why."""


@dataclass(frozen=True)
class Run:
    """One run of the probe: its first act was at `began` (boottime) in the folder `out`."""

    began: float
    out: str

    @property
    def task(self) -> str:
        return Path(self.out).stem


def build_probe(folder: Path) -> Path:
    """A static C program: it runs within a millisecond.  Raises BenchError where nothing can compile it."""
    probe = folder / "probe"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise BenchError("no C compiler for bench/probe.c: install gcc and libc6-dev")
    subprocess.run([compiler, "-O2", "-static", "-o", probe, HERE / "probe.c"], check=True)
    return probe


class Node:
    """One ast3d below `root`; `burn_seconds`: each run of the probe keeps a core busy for so long."""

    def __init__(self, root: Path, probe: Path, burn_seconds: float = 0.0, more: str = "") -> None:
        shutil.rmtree(root, ignore_errors=True)
        self.root, self.pool, self.aside = root, root / "incoming" / "ast3-1", root / "aside"
        self.log, self.ledger = root / "log" / "ast3d.log", root / "ledger"
        self.prefix: list[str] = []  # what runs ast3d: strace
        for folder in (root / "etc", self.aside, self.log.parent):
            folder.mkdir(parents=True)
        self.log.touch()
        words = [str(probe), str(self.ledger), "{out}", *([f"{burn_seconds:g}"] if burn_seconds else [])]
        command = ", ".join(json.dumps(word) for word in words)
        (root / "etc" / "ast3d.yaml").write_text(CONFIGURATION.format(command=command, more=more))
        self.process: subprocess.Popen[bytes] | None = None
        self._inotify = INotify()
        self._inotify.add_watch(self.log, flags.MODIFY)
        self._read = 0

    def start(self) -> None:
        """Start it, and no more."""
        with (self.root / "said").open("ab") as said:
            argv = [*self.prefix, str(BIN / "ast3d"), "--root", str(self.root), "--foreground"]
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=said, stderr=said)

    def wait_for(self, *events: str, seconds: float = PATIENCE_SECONDS) -> tuple[str, float]:
        """Wait for a log line of an event (all of them, in any order); -> (the last line, boottime when it was there).

        Each line is looked at once.  Raises BenchError.
        """
        missing, end = set(events), boottime() + seconds
        while True:
            if line := self.next_line():
                now = boottime()
                missing -= {event for event in missing if f" {event} " in line}
                if not missing:
                    return line, now
                continue
            ended = self.process is not None and self.process.poll() is not None
            if ended or not select.select([self._inotify.fileno()], [], [], max(end - boottime(), 0.0))[0]:
                raise BenchError(f"{missing} did not come; see {self.log} and {self.root / 'said'}")
            self._inotify.read(timeout=0)

    def next_line(self) -> str:
        """The next whole line of the log, a space for its end; empty where there is none yet."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            line = file.readline()
        if not line.endswith(b"\n"):
            return ""
        self._read += len(line)
        return line.decode(errors="replace").replace("\n", " ")

    def up(self) -> None:
        """Start it, and wait until it and all its helpers are there."""
        self.start()
        self.wait_for("daemon.ready", "helper.up helper=nursery", "helper.up helper=porter")

    def kill(self) -> float:
        """End it by SIGKILL; -> the boottime just before."""
        assert self.process is not None
        now = boottime()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return now

    def stop(self) -> None:
        """End it and its workers, and remove everything."""
        if self.process and self.process.poll() is None:
            os.kill(
                int((self.root / "state" / "ast3d.lock").read_text().split()[0]), signal.SIGTERM
            )  # strace keeps it for itself
            self.process.wait(PATIENCE_SECONDS)
        for account in (self.root / "state" / "attempts").glob("*.json"):
            told = json.loads(account.read_bytes())
            if not told["ended"]:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(told["pid"], signal.SIGKILL)
        self._inotify.close()
        shutil.rmtree(self.root, ignore_errors=True)

    def write_aside(self, name: str, data: bytes) -> Path:
        """A durable frame beside the pool, ready to be renamed."""
        path = self.aside / name
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        sync_dir(self.aside)
        return path

    def runs(self) -> list[Run]:
        """What the probe told until now."""
        if not self.ledger.exists():
            return []
        lines = [line.split(" ", 1) for line in self.ledger.read_text().splitlines()]
        return [Run(float(began), out) for began, out in lines]

    def empty(self) -> None:
        """Wait until the pool is."""
        end = boottime() + PATIENCE_SECONDS
        while os.listdir(self.pool):
            if boottime() > end:
                raise BenchError(f"{len(os.listdir(self.pool))} frames stay in the pool; see {self.log}")
            time.sleep(0.01)

    def status(self) -> dict[str, Any]:
        """As `ast3ctl status --json` says."""
        return json.loads(self.ctl("status", "--json"))  # type: ignore[no-any-return]

    def ctl(self, *words: str) -> str:
        """What ast3ctl answers."""
        argv = [str(BIN / "ast3ctl"), "--root", str(self.root), *words]
        return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=PATIENCE_SECONDS).stdout
