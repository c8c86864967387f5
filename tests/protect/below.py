"""A node below a folder, without systemd: ast3d and protectd, started and stopped as by hand and by cron."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from protectd import files
from protectd.proc import start_ticks

BIN = Path(sys.executable).parent
NAMES = ("ast3d", "protectd")
PATIENCE_SECONDS = 40.0
QUICK = "pool: {settle_seconds: 0.05, scan_seconds: 0.5}\nprotect: {period_seconds: 0.3}\nworker: {backoff_seconds: 0.1}\n"


class Below:
    """`command` is what works on a frame, for /bin/sh; `@` in it is the folder."""

    def __init__(self, root: Path, command: str = ":", more: str = QUICK) -> None:
        self.root, self.run = root, root / "run"
        (root / "etc").mkdir(parents=True)
        work = json.dumps(["/bin/sh", "-c", command.replace("@", str(root)), "{frame}", "{out}"])
        (root / "etc" / "ast3d.yaml").write_text(f"pipeline: {{command: {work}}}\n{more}...\n")

    # --- what is done

    def ctl(self, *words: str, code: int | None = 0) -> str:
        """`ast3ctl`; -> what it says, on stdout or stderr."""
        done = subprocess.run(
            [BIN / "ast3ctl", "--root", self.root, *words], capture_output=True, text=True, timeout=PATIENCE_SECONDS
        )
        assert code in {None, done.returncode}, done
        assert not (done.stdout and done.stderr) or code is None, done
        assert done.stderr.count("\n") <= 1
        return done.stdout + done.stderr

    def start(self) -> None:
        """Both are there and know of each other."""
        self.ctl("start")
        self.wait(self.guarded, "guarded")

    def expose(self, name: str) -> None:
        aside = self.root / name
        aside.write_bytes(os.urandom(3000))
        aside.rename(self.root / "incoming" / "ast3-1" / name)

    def kill(self, *names: str, number: int = signal.SIGKILL) -> None:
        for pid in [self.pid(name) for name in names]:
            os.kill(pid, number)

    def end(self) -> None:
        """Whatever is still there of it."""
        if self.run.is_dir():
            files.replace(self.run / "stopped", {})
        for name in (*NAMES, *NAMES):
            if pid := self.pid(name) or files.holder(self.run / f"{name}.begin"):
                os.kill(pid, signal.SIGKILL)
                self.wait(lambda pid=pid: not start_ticks(pid), f"{pid} gone")
        for account in self.accounts():
            os.killpg(account["pid"], signal.SIGKILL)

    # --- what is seen

    def pid(self, name: str) -> int:
        """Of who holds the lock; 0: nobody."""
        lock = self.root / "state" / "ast3d.lock" if name == "ast3d" else self.run / "protectd.lock"
        return files.holder(lock) or 0

    def pids(self) -> list[int]:
        return [self.pid(name) for name in NAMES]

    def status(self) -> dict:
        done = subprocess.run(
            [BIN / "ast3ctl", "--root", self.root, "status", "--json"],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        return json.loads(done.stdout)

    def guarded(self) -> bool:
        status = self.status()
        return status["state"] == "READY" and status["protect"]["state"] == "watching"

    def accounts(self) -> list[dict]:
        """Of the workers that run."""
        told = [json.loads(path.read_text()) for path in (self.root / "state" / "attempts").glob("*.json")]
        return [account for account in told if not account["ended"]]

    def published(self) -> list[Path]:
        return sorted((self.root / "products").glob("ast3-1/*/*/manifest.json"))

    def log(self, name: str = "ast3d") -> str:
        path = self.root / "log" / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def wait(self, holds, what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Of a condition in other processes, which gives no event to wait for."""
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                pytest.fail(f"not {what} after {seconds} s\n{self.log()[-4000:]}\n{self.log('protectd')[-4000:]}")
            time.sleep(0.02)


def stays(holds, seconds: float) -> bool:
    """Whether it holds all that time: that nothing happens cannot be waited for otherwise."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not holds():
            return False
        time.sleep(0.05)
    return True
