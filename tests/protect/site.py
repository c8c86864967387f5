"""A site: a machine of its own on which `ast3ctl install` has put the suite, and what a test asks of it."""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.protect.machine import Machine, StuckError
from tests.protect.suite import INSIDE, installed

NAMES = ("ast3d", "protectd")
PATIENCE_SECONDS = 120.0
CONFIG = """\
pool:
  settle_seconds: 0.05
  scan_seconds: 0.5
pipeline:
  command: ['/bin/sh', '-c', 'echo "{frame}" >> /var/lib/ast3/ledger; sleep 2; cp "{frame}" "{out}/copy"']
...
"""


class Site:
    """`machine` runs, and everything that is installed in it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    @property
    def root(self) -> Path:
        """The root of the machine, seen from here."""
        return Path(f"/proc/{self.machine.leader}/root")

    def ctl(self, *words: str) -> str:
        """`ast3ctl`, as root; its output, and that of its failure."""
        done = self.machine.run(INSIDE / "bin" / "ast3ctl", *words)
        return done.stdout + done.stderr

    def systemctl(self, *words: str) -> str:
        return self.machine.run("systemctl", *words, check=True).stdout

    def status(self) -> dict:
        told = self.machine.run(INSIDE / "bin" / "ast3ctl", "status", "--json").stdout
        return json.loads(told) if told else {"state": "no answer"}

    def ensure(self) -> str:
        """What cron runs, as cron runs it; what it says."""
        lines = (self.root / "etc/cron.d/ast3").read_text().splitlines()
        [command] = [line.split(None, 6)[6] for line in lines if line.startswith("* * * * * ast3 ")]
        done = self.machine.run("setpriv", "--reuid=ast3", "--regid=ast3", "--clear-groups", "sh", "-c", command)
        return done.stdout + done.stderr

    # --- the two daemons

    def unit(self, name: str) -> dict[str, str]:
        """What systemd knows of it."""
        wanted = "ActiveState,SubState,MainPID,ActiveEnterTimestampMonotonic,NRestarts,Result"
        return dict(line.split("=", 1) for line in self.systemctl("show", "-p", wanted, f"{name}.service").splitlines())

    def pid(self, name: str) -> int:
        """As the machine itself counts."""
        return int(self.unit(name)["MainPID"])

    def kill(self, signal: str, *names: str) -> float:
        """-> the monotonic time of it."""
        pids = [str(self.pid(name)) for name in names]
        began = time.monotonic()
        self.machine.run("kill", f"-{signal}", *pids, check=True)
        return began

    def ready(self, *names: str, since: float = 0.0) -> float:
        """Wait until they have said READY after `since`; -> seconds from then to the last one's word."""

        def at(name: str) -> float:
            about = self.unit(name)
            return int(about["ActiveEnterTimestampMonotonic"]) / 1e6 if about["ActiveState"] == "active" else 0.0

        times: dict[str, float] = {}

        def all_are() -> bool:
            times.update({name: at(name) for name in names})
            return all(moment > since for moment in times.values())

        self.wait(all_are, f"{names} READY", pause=0.1)  # asking takes from the time of the one that starts
        return max(times.values()) - since

    def periods(self, name: str, count: int) -> None:
        """Wait until a daemon has gone on for so many periods of the handshake."""
        path = self.root / "run" / "ast3" / f"{name}.alive"

        def at() -> float:
            try:
                return float(json.loads(path.read_text())["at"])
            except (FileNotFoundError, ValueError):
                return 0.0

        end = time.clock_gettime(time.CLOCK_BOOTTIME) + count
        self.wait(lambda: at() >= end, f"{name} alive for {count} periods")

    def settle(self) -> None:
        """Both READY, whatever was before, and watching each other."""
        self.systemctl("daemon-reload")
        self.ctl("start")
        self.systemctl("start", "ast3.target", "ast3d.service", "protectd.service")
        self.ready(*NAMES)
        self.wait(lambda: self.status().get("protect", {}).get("state") == "watching", "watched")

    # --- frames

    def expose(self, name: str) -> None:
        """A frame arrives."""
        pool = self.root / "var/lib/ast3/incoming/ast3-1"
        (pool / f".{name}").write_bytes(os.urandom(4096))
        (pool / f".{name}").rename(pool / name)

    def runs(self) -> list[str]:
        """What the work itself wrote down at each of its beginnings."""
        ledger = self.root / "var/lib/ast3/ledger"
        return ledger.read_text().splitlines() if ledger.exists() else []

    def published(self) -> list[Path]:
        return sorted((self.root / "var/lib/ast3/products").glob("ast3-1/*/*/copy"))

    def log(self) -> str:
        return (self.root / "var/log/ast3/ast3d.log").read_text()

    def wait(self, holds: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS, pause: float = 0.02) -> None:
        """Of a condition in another machine, which gives no event to wait for."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                units = self.machine.run("systemctl", "status", "--no-pager", "ast3d", "protectd").stdout
                raise StuckError(f"not {what} after {seconds:g} s\n{units}\n{self.log()[-3000:]}")
            time.sleep(pause)


@contextlib.contextmanager
def new_site() -> Iterator[Site]:
    """A machine that has booted and on which the suite is installed; NoMachineError where there can be none."""
    with Machine({installed(): INSIDE}) as machine:
        machine.boot()
        (machine.root / "etc/ast3").mkdir()
        (machine.root / "etc/ast3/ast3d.yaml").write_text(CONFIG)
        site = Site(machine)
        site.said = site.ctl("install")
        yield site
