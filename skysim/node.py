"""The ast3d of a demo: started, asked and stopped only through its commands, as an operator would.

A command is the one installed beside this Python, else its module: a checkout works without installation.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

START_SECONDS = 60.0
STOP_SECONDS = 20.0
ANSWER_SECONDS = 20.0
POLL_SECONDS = 0.2


class DemoFailedError(Exception):
    """The demo could not be carried out; one line says why and where to look."""


def command(name: str, module: str) -> list[str]:
    """How to run one of the suite's commands."""
    installed = Path(sys.executable).with_name(name)
    return [str(installed)] if installed.exists() else [sys.executable, "-m", module]


def ask(root: Path, *words: str) -> dict[str, Any] | None:
    """What `ast3ctl --root ROOT WORDS --json` answers; None if nothing answers."""
    argv = [*command("ast3ctl", "ast3ctl.cli"), "--root", str(root), *words, "--json"]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
        answer = json.loads(done.stdout) if done.returncode == 0 else None
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    return answer if isinstance(answer, dict) else None


class Node:
    """One ast3d below `root`, running between enter and exit.

    Entering returns when it says READY; DemoFailedError if it does not within `START_SECONDS`.  Leaving sends SIGTERM, and
    SIGKILL after `STOP_SECONDS`.  What it says on stdout and stderr is in the file `said`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said = root / "ast3d.out"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        argv = [*command("ast3d", "ast3d"), "--root", str(self.root), "--foreground"]
        with self.said.open("wb") as out:
            self._process = subprocess.Popen(argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        try:
            while (status := ask(self.root, "status")) is None or status["state"] == "STARTING":
                self.must_live()
                if time.monotonic() > deadline:
                    raise DemoFailedError(f"ast3d was not ready within {START_SECONDS:g} s; see {self.said}")
                time.sleep(POLL_SECONDS)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    def must_live(self) -> None:
        """DemoFailedError if ast3d has ended."""
        assert self._process is not None
        if (code := self._process.poll()) is not None:
            last = self.said.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
            raise DemoFailedError(f"ast3d ended with status {code}: {last[0]} (all of it in {self.said})")

    def status(self) -> dict[str, Any] | None:
        """What it says of itself, None if it did not answer; DemoFailedError if it has ended."""
        self.must_live()
        return ask(self.root, "status")

    def _stop(self) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
