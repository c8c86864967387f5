"""A busy node without systemd: a real ast3d and protectd, frames that come all the time, and a third process that looks
whether there are ever two of one.

Everything is seen from outside: the logs, the small files of the run folder, /proc.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ast3d.common.clock import boottime
from protectd import proc
from tests.powercut import audit, load
from tests.protect.census import Census, is_daemon

BIN = Path(sys.executable).parent
CHECKOUT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.005
DAEMONS = ("ast3d", "protectd")


class BusyError(Exception):
    """What was waited for did not come; the text says what, and the end of the logs."""


class Busy:
    """One node below `root`; `scratch` is for what is not its own."""

    def __init__(self, root: Path, scratch: Path, more: str, environment: dict[str, str]) -> None:
        root.mkdir(exist_ok=True)
        self.root, self.run, self.pool = root, root / "run", root / "incoming" / "ast3-1"
        self._environment = os.environ | environment
        load.configure(root, scratch)
        file = root / "etc" / "ast3d.yaml"
        file.write_text(file.read_text().replace("...", more + "..."))
        self._census = Census("below", root)
        self._feeder = load.Feeder(root, 1, durable=False)

    def start(self) -> None:
        """As an operator starts it; it starts its guard itself.  From then on frames come, and the third process looks."""
        self._call("ast3d")
        self.wait_up()
        self._census.start()
        self._feeder.start()

    def settle(self) -> list[str]:
        """No more frames; when all have left the pool, what is wrong: lost, doubled, two of one."""
        self._feeder.finish()
        self.wait(lambda: not os.listdir(self.pool), "an empty pool")
        claim = audit.Claim(self._feeder.safe, self._feeder.sent, (), ())
        found = audit.audit(self.root, claim, audit.Standing({}), [])
        return [str(violation) for violation in found if violation.kind != "order"] + self._census.doubles()

    @property
    def fed(self) -> int:
        """How many frames there were."""
        return len(self._feeder.sent)

    # --- who is there

    def pid(self, daemon: str) -> int:
        """Of the one that tells that it is alive; 0 where none does."""
        told = self._read(f"{daemon}.alive")
        pid = int(told.get("pid", 0))
        return pid if pid and proc.look(pid, int(told["ticks"])) else 0

    def is_up(self, daemon: str) -> bool:
        """Whether it is there and has said that it is ready."""
        return self.pid(daemon) != 0 and self._read(f"{daemon}.starts").get("failed") == 0

    def last_start(self, daemon: str) -> float:
        """When it was last begun, whatever became of that."""
        return float(self._read(f"{daemon}.starts").get("last", 0.0))

    def _read(self, name: str) -> dict[str, float]:
        try:
            return json.loads((self.run / name).read_bytes())  # type: ignore[no-any-return]
        except (OSError, ValueError):
            return {}

    def wait(self, holds: Callable[[], bool], what: str) -> float:
        """-> the boottime at which it held.  Raises BusyError."""
        end = boottime() + PATIENCE_SECONDS
        while not holds():
            if boottime() > end:
                logs = "\n".join(self._log(daemon) for daemon in DAEMONS)
                raise BusyError(f"not {what} after {PATIENCE_SECONDS:g} s\n{logs}")
            time.sleep(POLL_SECONDS)
        return boottime()

    def wait_up(self) -> float:
        """Both are there and ready."""
        return self.wait(lambda: all(map(self.is_up, DAEMONS)), "both are up")

    def wait_other(self, daemon: str, than: int) -> float:
        """Until another one is up than the process `than`; -> when."""
        return self.wait(lambda: self.pid(daemon) not in {0, than} and self.is_up(daemon), f"another {daemon}")

    def _log(self, daemon: str) -> str:
        with contextlib.suppress(OSError):
            return (self.root / "log" / f"{daemon}.log").read_text(errors="replace")[-3000:]
        return ""

    # --- what happens to it

    def strike(self, *daemons: str, how: signal.Signals = signal.SIGKILL) -> tuple[float, dict[str, int]]:
        """A signal to each, to all at once; -> (the boottime just before, whose pids)."""
        pids = {daemon: self.pid(daemon) for daemon in daemons}
        now = boottime()
        for number in (signal.SIGSTOP, how) if len(pids) > 1 else (how,):  # the second must not see the first one's end
            for pid in pids.values():
                os.kill(pid, number)
        return now, pids

    def ctl(self, *words: str) -> None:
        """`ast3ctl`.  Raises BusyError."""
        self._call("ast3ctl", *words)

    def _call(self, command: str, *words: str) -> None:
        argv = [BIN / command, "--root", self.root, *words]
        done = subprocess.run(
            argv, env=self._environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
        if done.returncode:
            raise BusyError(f"{command} {' '.join(words)}: {done.stderr}")

    def end(self) -> None:
        """Nothing of it is left running."""
        if self._feeder.is_alive():
            self._feeder.finish()
        self._census.close()
        with contextlib.suppress(BusyError):
            self.ctl("stop", "--kill")
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                words = Path("/proc", name, "cmdline").read_bytes().decode(errors="replace").split("\0")
                if str(self.root) in words and any(is_daemon(words, daemon) for daemon in DAEMONS):
                    os.kill(int(name), signal.SIGKILL)


@contextlib.contextmanager
def busy(
    folder: Path, more: str = "", environment: dict[str, str] | None = None, root: Path | None = None
) -> Iterator[Busy]:
    """A node that is up and has work, and is ended whatever happens; below `folder`, or on a disk of its own, `root`."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    node = Busy(root or folder / "node", scratch, more, environment or {})
    try:
        node.start()
        yield node
    finally:
        node.end()
