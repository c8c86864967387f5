"""A real ast3d under a folder of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 60


class Node:
    """One ast3d, started as a user starts it."""

    def __init__(self, root: Path, config: str) -> None:
        self.root = root
        (root / "etc").mkdir(parents=True)
        self.configure(config)
        self.process: subprocess.Popen | None = None
        self.pool = root / "incoming" / "ast3-1"
        self.ledger = root / "ledger"

    def configure(self, config: str) -> None:
        """These tests kill and start ast3d themselves; that nothing stays down is for tests/protect."""
        alone = "" if "protect:" in config else "protect: {enabled: false}\n"
        said = "" if config == "{}" else config.replace("@", str(self.root))
        (self.root / "etc" / "ast3d.yaml").write_text(f"{alone}{said}\n...\n")

    def start(self, *, until: str = "READY", **how) -> None:
        self.output = (self.root / "foreground").open("ab")
        argv = [BIN / "ast3d", "--root", self.root, "--foreground"]
        self.process = subprocess.Popen(argv, stdout=self.output, stderr=self.output, **how)
        self.wait(lambda: self.status()["state"] == until, until)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        self.output.close()
        self.process = None
        return code

    def ctl(self, *words: str) -> subprocess.CompletedProcess:
        argv = [BIN / "ast3ctl", "--root", self.root, *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_SECONDS)

    def status(self) -> dict:
        answer = self.ctl("status", "--json")
        return json.loads(answer.stdout) if answer.stdout else {"state": "none"}

    def log(self) -> str:
        path = self.root / "log" / "ast3d.log"
        return path.read_text() if path.exists() else ""

    def lines(self) -> list[str]:
        """What the processing command itself wrote down."""
        return self.ledger.read_text(errors="surrogateescape").splitlines() if self.ledger.exists() else []

    def published(self) -> list[Path]:
        return sorted((self.root / "products").glob("ast3-1/*/*/manifest.json"))

    def discarded(self) -> list[dict]:
        return [json.loads(path.read_text()) for path in sorted((self.root / "quarantine").glob("ast3-1/*/why.json"))]

    def archived(self) -> list[Path]:
        return sorted(path for path in (self.root / "archive").glob("ast3-1/*/*") if path.is_file())

    def settled(self, archived: int, discarded: int = 0) -> None:
        """Wait until so many frames have left the pool."""
        self.wait(
            lambda: (
                len(self.archived()) >= archived and len(self.discarded()) >= discarded and not list(self.pool.iterdir())
            ),
            f"{archived} archived and {discarded} discarded",
        )

    def wait(self, holds, what: str, seconds: float = PATIENCE_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > end:
                helpers = self.root / "log" / "helpers.err"
                said = helpers.read_text() if helpers.exists() else ""
                pytest.fail(f"not {what} after {seconds} s\n{self.log()[-6000:]}\n{said[-2000:]}")
            time.sleep(0.02)  # of a condition outside this process, which gives no event to wait for


@pytest.fixture
def node(tmp_path):
    """Call it with a configuration; the daemon and all that it started are ended afterwards."""
    made: list[Node] = []

    def make(config: str = "{}", *, start: bool = True, **how) -> Node:
        one = Node(tmp_path / f"node{len(made)}", config)
        made.append(one)
        if start:
            one.start(**how)
        return one

    yield make
    for one in made:
        if (one.root / "run").exists():
            (one.root / "run" / "stopped").touch()  # protectd, where a configuration was not read, ends
        if one.process:
            one.stop(signal.SIGKILL if one.process.poll() is None else 0)
        for account in (one.root / "state" / "attempts").glob("*.json"):
            told = json.loads(account.read_text())
            if not told["ended"]:
                try:
                    os.killpg(told["pid"], signal.SIGKILL)
                except ProcessLookupError:
                    continue
        shutil.rmtree(one.root, ignore_errors=True)
