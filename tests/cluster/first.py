"""The first process of a node: it keeps the node's services up as systemd does, and buries who has no parent any more.

    python -I -S first.py FOLDER

A service is a file FOLDER/NAME.json: {"argv": [...], "env": {...}, "on": bool, "again": bool}.  One that is on runs; if it
ends it is started again after 100 ms, where `again` says so; one that is switched off is killed.  What it says goes to
FOLDER/NAME.out.  The node ends with this process' standard input: the kernel ends all others.  Standard library only, and
no other module of these tests.
"""

import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

TICK_SECONDS = 0.05
REST_SECONDS = 0.1


class Service:
    """One file, and the process that it is."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.pid = 0
        self.rest_until = 0.0
        self.begun = False

    def tend(self, now: float) -> None:
        """Have it run, or not, as its file says now."""
        try:
            wanted = json.loads(self.file.read_bytes())
        except (OSError, ValueError):  # it is just being written
            return
        if not wanted["on"]:
            self.begun = False
            if self.pid:
                os.kill(self.pid, signal.SIGKILL)
        elif not self.pid and now >= self.rest_until and (wanted["again"] or not self.begun):
            self.begun = True
            self.pid = _start(wanted, self.file.with_suffix(".out"))
            self.file.with_suffix(".pid").write_text(str(self.pid))

    def ended(self, now: float) -> None:
        self.pid, self.rest_until = 0, now + REST_SECONDS


def _start(wanted: dict[str, Any], output: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        fds = os.open(os.devnull, os.O_RDONLY), os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for fd, targets in zip(fds, ((0,), (1, 2)), strict=True):
            for target in targets:
                os.dup2(fd, target)
        os.execvpe(wanted["argv"][0], wanted["argv"], wanted["env"])
    finally:
        os._exit(127)


def main() -> None:
    folder = Path(sys.argv[1])
    services: dict[Path, Service] = {}
    print("booted", flush=True)
    while not select.select([0], [], [], TICK_SECONDS)[0]:
        now = time.monotonic()
        for file in sorted(folder.glob("*.json")):
            services.setdefault(file, Service(file)).tend(now)
        _bury(list(services.values()), now)


def _bury(services: list[Service], now: float) -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        for service in services:
            if service.pid == pid:
                service.ended(now)


if __name__ == "__main__":
    main()
