"""An ast3d on a disk, on a machine of its own: other process ids, another boot id, a boottime that began near 0.

Ending it leaves nothing of it behind: all its processes go with the first one.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 120.0
BOOTED_SECONDS = 20  # before ast3d starts
POLL_SECONDS = 0.02
WORLD = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--time")
BOOT = 'mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"'


class StuckError(Exception):
    """What was waited for did not come; the text holds what the log said last."""


class Machine:
    """ast3d with everything below `root`, after a boot.  `scratch` is for what is not on the disk."""

    def __init__(self, root: Path, scratch: Path) -> None:
        self.root = root
        self.pool = root / "incoming" / "ast3-1"
        self._log = root / "log" / "ast3d.log"
        self._logged = self._log.stat().st_size if self._log.exists() else 0
        boot = scratch / f"boot-{uuid.uuid4()}"
        boot.write_text(f"{uuid.uuid4()}\n")
        offset = int(BOOTED_SECONDS - time.clock_gettime(time.CLOCK_BOOTTIME))
        ast3d = [str(BIN / "ast3d"), "--root", str(root), "--foreground"]
        with (scratch / "said").open("ab") as said:
            self._process = subprocess.Popen(
                [*WORLD, "--boottime", str(offset), "sh", "-c", BOOT, "sh", str(boot), *ast3d],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )

    def log(self) -> str:
        """What it has logged since this boot."""
        if not self._log.exists():
            return ""
        with self._log.open("rb") as file:
            file.seek(self._logged)
            return file.read().decode(errors="replace")

    def wait(self, holds: Callable[[], bool], what: str) -> None:
        """Of a condition on another machine, which gives no event to wait for."""
        end = time.monotonic() + PATIENCE_SECONDS
        while not holds():
            if time.monotonic() > end or self._process.poll() is not None:
                raise StuckError(f"not {what} after {PATIENCE_SECONDS:g} s, or ast3d ended:\n{self.log()[-4000:]}")
            time.sleep(POLL_SECONDS)

    def ready(self) -> None:
        """Wait until its log says so."""
        self.wait(lambda: " daemon.ready " in self.log(), "ready")

    def idle(self) -> None:
        """Wait until no frame is in the pool."""
        self.wait(lambda: not os.listdir(self.pool), "idle: frames stay in the pool")

    def state(self) -> str:
        """As `ast3ctl status` says."""
        argv = [str(BIN / "ast3ctl"), "--root", str(self.root), "status", "--json"]
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False).stdout
        return str(json.loads(answer)["state"]) if answer else "no answer"

    def end(self) -> None:
        """Everything stops, at once."""
        ours = self._process.pid
        for pid in Path(f"/proc/{ours}/task/{ours}/children").read_text(encoding="ascii").split():
            os.kill(int(pid), signal.SIGKILL)  # the first process of its own world takes all others with it
        self._process.wait(PATIENCE_SECONDS)
