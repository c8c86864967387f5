"""The nursery: the helper process that forks one runner a task, with what that needs loaded.

It starts with no descriptor but its socket to ast3d, loads once, and forks in milliseconds; photometry, by far the larger
part, is loaded only where it is to do the work, for each page makes each fork dearer.  It watches nothing: runners are
sessions of their own, outlive it, and write down how they ended.  What escapes a runner that was killed becomes the
nursery's child, and is ended.
"""

import gc
import importlib
import os
import select
import signal
import sys
from typing import Any

from ast3d import processes
from ast3d.common.clock import boot_id
from ast3d.common.link import HelperEnd
from ast3d.common.parent import become_subreaper, die_with_parent

# Forked children must not find a pool of threads that did not survive the fork, nor fight over the cores.
ENVIRONMENT = {
    "NUMBA_THREADING_LAYER": "workqueue",
    "NUMBA_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
FOR_EVERY_RUNNER = ("ast3d.runner", "photometry.times", "photometry.manifest")
FOR_PHOTOMETRY = ("photometry.pipeline",)


class Nursery:
    """Serves one ast3d until it is gone."""

    def __init__(self, link: HelperEnd) -> None:
        self.link = link
        self.runners: set[int] = set()
        self.loaded = False
        self.reaped, self.reap = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Until ast3d is gone: EOFError."""
        signal.set_wakeup_fd(self.reap)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self.link.fileno(), self.reaped], [], [])
            if self.reaped in ready:
                os.read(self.reaped, 4096)
                self.bury()
            if self.link.fileno() in ready:
                for message in self.link.receive():
                    self.serve(message)

    def serve(self, message: dict[str, Any]) -> None:
        """Do what ast3d asks."""
        if "ping" in message:
            self.link.send({"pong": message["ping"]})
        elif "photometry" in message:
            self.load_photometry()
        else:
            self.start(message["start"])

    def load_photometry(self) -> None:
        """Once; before the first frame comes if ast3d says so, else with it."""
        if not self.loaded:
            self.loaded = True
            load(FOR_PHOTOMETRY)

    def start(self, order: dict[str, Any]) -> None:
        """Fork a runner, and say its pid and start time."""
        if not order["command"]:
            self.load_photometry()
        pid = os.fork()
        if pid == 0:
            from ast3d import runner

            self.forget()
            runner.main(order)
        self.runners.add(pid)
        spawned = {"task": order["task"], "attempt": order["attempt"], "pid": pid, "ticks": processes.start_ticks(pid)}
        self.link.send({"spawned": spawned})

    def forget(self) -> None:
        """In the child: nothing of the nursery's is kept."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self.link.fileno())
        os.close(self.reaped)
        os.close(self.reap)

    def bury(self) -> None:
        """Reap the runners that ended, and end what they left."""
        for pid in list(self.runners):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self.runners.discard(pid)
        processes.end_strays(keep=frozenset(self.runners))


def load(names: tuple[str, ...]) -> None:
    """Load what runners need.  Without it they start slower, or say themselves what is missing."""
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as error:
            print(f"nursery: {name} cannot be loaded: {error}", file=sys.stderr)
    gc.collect()
    gc.freeze()


def main() -> None:
    """The socket to ast3d, and its pid: what outlived it would work beside its successor."""
    die_with_parent(int(sys.argv[2]))
    link = HelperEnd(int(sys.argv[1]))
    become_subreaper()
    processes.give_way()
    load(FOR_EVERY_RUNNER)
    boot_id()  # is kept, for all that are forked
    try:
        link.send({"ready": True})
        Nursery(link).run()
    except EOFError:
        return


if __name__ == "__main__":
    main()
