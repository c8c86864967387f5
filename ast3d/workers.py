"""The workers as ast3d sees them: found by their accounts, watched by pidfds, killed with all that they started.

Whoever forked them: those of an earlier ast3d, or of a nursery that is gone, are no different.
"""

import os
import selectors
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from ast3d import effects, ledger, processes, translate
from ast3d import inputs as i
from ast3d.common.clock import boottime
from ast3d.task import Task


class Workers:
    """The running ones.  `folder` holds their accounts; `put` takes what becomes of them."""

    def __init__(self, folder: Path, selector: selectors.BaseSelector, put: Callable[[i.Input], None]) -> None:
        self._folder, self._selector, self._put = folder, selector, put
        self._pidfds: dict[tuple[str, int], int] = {}

    def find(self, running: Iterable[Task]) -> list[str]:
        """At start: what became of the workers of an earlier ast3d; -> TASK.N of each that runs on."""
        found = [account for account in ledger.read_all(self._folder) if account.running]
        for account in found:
            began = account.entry, account.attempt, account.pid, account.started
            self._put(i.WorkerFound(boottime(), account.task, *began))
            self.watch(account.task, account.attempt, account.pid, account.ticks)
        alive = {(account.task, account.attempt) for account in found}
        for task in running:
            if (task.id, task.attempt) not in alive:
                self._end(task.id, task.attempt)
        return [f"{task}.{attempt}" for task, attempt in alive]

    def find_untold(self) -> None:
        """Those that a nursery forked and could not tell of."""
        for account in ledger.read_all(self._folder):
            if account.running and (account.task, account.attempt) not in self._pidfds:
                self._put(i.WorkerSpawned(boottime(), account.task, account.attempt, account.pid))
                self.watch(account.task, account.attempt, account.pid, account.ticks)

    def watch(self, task: str, attempt: int, pid: int, ticks: int) -> None:
        """Be told when a worker's process ends."""
        if (task, attempt) in self._pidfds:
            return
        fd = processes.watch(pid, ticks)
        if fd is None:
            self._end(task, attempt)
            return
        self._pidfds[task, attempt] = fd
        self._selector.register(fd, selectors.EVENT_READ, lambda _mask: self._end(task, attempt))

    def kill(self, effect: effects.Kill) -> None:
        """Send the signal, unless it has ended."""
        if (effect.task, effect.attempt) not in self._pidfds:
            return
        if effect.signal == "TERM":
            processes.kill_group(effect.pid, signal.SIGTERM)
        else:
            processes.kill_tree(effect.pid)

    def look(self, running: Iterable[Task]) -> None:
        """What stage each says it is in."""
        for task in running:
            try:
                stage = ledger.stage_file(self._folder, task.id, task.attempt).read_text(encoding="ascii", errors="replace")
            except OSError:
                continue
            if stage and stage != task.stage:
                self._put(i.WorkerProgressed(boottime(), task.id, task.attempt, stage))

    def _end(self, task: str, attempt: int) -> None:
        """A worker's process is gone: its account says how."""
        fd = self._pidfds.pop((task, attempt), None)
        if fd is not None:
            self._selector.unregister(fd)
            os.close(fd)
        account = ledger.read(ledger.account_file(self._folder, task, attempt))
        account = account or ledger.Account(task, attempt, "", "", 0, 0, 0, 0, "", 0.0)
        told = account if account.ended else account.lost(self._folder)
        self._put(translate.worker_ended(told, boottime()))
