"""One node: processes, boottime, boot id, mounts and network of its own, so that it can lose its power like a machine.

Its first process keeps etcd and ast3-ha up as systemd does; ast3d is started once, for protectd brings it back.  A power
cut leaves no process of it, no socket and no answer on the wire; what its files hold stays (that what was not synced is
lost is for tests/powercut).  The frames and products are those of all nodes: one folder, to which links lead.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ast3d.common.logline import LogLine, parse
from tests.cluster import clock, disk, paper
from tests.cluster.network import Network, run
from tests.cluster.paper import Plan

BIN = Path(sys.executable).parent
HERE = Path(__file__).resolve().parent
SHARED = ("incoming", "products", "archive", "quarantine", "templates", "calibrations")
END_SECONDS = 30.0
_OWN = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc", "--kill-child", "--time")
_BOOT = """\
mount --bind "$1" /proc/sys/kernel/random/boot_id || exit 1
shift
[ -z "$1" ] || mount -o loop,errors=remount-ro "$1" "$2" || exit 1
shift 2
exec "$@"
"""
_POISON = """\
import os, sys
if os.path.exists({marker!r}) and "ast3d" in [os.path.basename(word) for word in sys.orig_argv[:4]]:
    os.write(2, b"ast3d: poisoned by its test\\n")
    os._exit(1)
"""


class Node:
    """`name` of a plan, below `site`/NAME; off until `boot`."""

    def __init__(self, plan: Plan, name: str, net: Network, site: Path) -> None:
        self.plan, self.name, self.net, self.site = plan, name, net, site
        self.root = site / name
        self.more: dict[str, dict[str, Any]] = {}
        self._services = self.root / "services"
        self._process: subprocess.Popen[str] | None = None
        self._init = 0
        self._random = random.Random(name)
        self._make()

    # --- power

    @property
    def is_on(self) -> bool:
        return self._process is not None

    def boot(self, *, cut_off: bool = False) -> None:
        """Switch it on; `cut_off`: its wire is out."""
        assert self._process is None, "it is on"
        if cut_off:
            self.net.cut(self.name)
        run_folder = self.root / "run"
        for path in run_folder.glob("*") if run_folder.is_dir() else ():  # a tmpfs on a real machine
            path.unlink()
        boot_id = self.root / "boot_id"
        boot_id.write_text(f"{uuid.uuid4()}\n")
        self._serve()
        uptime = self._random.randrange(20, 5000)  # its boottime means nothing to the others
        offset = uptime - int(float(Path("/proc/uptime").read_text().split()[0]))
        image = str(disk.image(self.root)) if self.name in self.plan.disks else ""
        python = (sys.executable, "-I", "-S", str(HERE / "first.py"), str(self._services))
        world = (*_OWN, "--boottime", str(offset), "sh", "-c", _BOOT, "sh", str(boot_id), image, str(self.root / "state"))
        with (self.root / "console").open("a") as console:
            self._process = subprocess.Popen(
                [*self.net.enter(self.name), *world, *python],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=console,
                text=True,
            )
        assert self._process.stdout
        if self._process.stdout.readline() != "booted\n":
            raise OSError(f"{self.name} does not boot: {(self.root / 'console').read_text()[-500:]}")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._init = int(children[0])

    def power_cut(self) -> None:
        """Everything of it is gone at once."""
        if self._process is None:
            return
        self.net.lose(self.name)
        os.kill(self._init, signal.SIGKILL)
        self._process.wait(END_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            pipe.close()
        self._process = None

    def reboot(self, *, cut_off: bool = False) -> None:
        """After a power cut: a new network card with the old address, and on."""
        self.net.connect(self.name)
        self.boot(cut_off=cut_off)

    # --- services

    def switch(self, service: str, *, on: bool) -> None:
        """As `systemctl start` or `stop`."""
        file = self._services / f"{service}.json"
        self._write(file, {**json.loads(file.read_text()), "on": on})

    def pid(self, service: str) -> int:
        """As this machine calls it; 0: there is none."""
        with contextlib.suppress(OSError, ValueError):
            inside = (self._services / f"{service}.pid").read_text()
            for pid in self.pids():
                if _inner(pid) == int(inside):
                    return pid
        return 0

    def pids(self) -> list[int]:
        """All its processes, as this machine calls them."""
        if self._process is None:
            return []
        ours = Path(f"/proc/{self._init}/ns/pid").readlink()
        found = []
        for pid in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if Path("/proc", pid, "ns/pid").readlink() == ours:
                    found.append(int(pid))
        return found

    def signal(self, service: str, number: int) -> None:
        """To the service's own process; nothing where there is none."""
        if pid := self.pid(service):
            os.kill(pid, number)

    # --- troubles of its own

    def break_disk(self) -> None:
        """Its state disk has an error and is read-only from now on, as ext4 does it; only for one with a disk."""
        disk.fail(self._init, self.root / "state")

    def lose_store(self) -> None:
        """What all nodes share is out of its sight: an empty folder that cannot be written to, as when a NAS is cut off."""
        run("nsenter", "-t", str(self._init), "--mount", "mount", "-t", "tmpfs", "-o", "ro", "gone", self.site / "shared")

    def find_store(self) -> None:
        """It sees it again."""
        run("nsenter", "-t", str(self._init), "--mount", "--pid", "umount", "--lazy", self.site / "shared")

    def poison(self, *, on: bool = True) -> None:
        """Its ast3d ends as soon as it begins."""
        if on:
            self._poisoned.touch()
        else:
            self._poisoned.unlink(missing_ok=True)

    def kill_ast3d(self) -> None:
        """By SIGKILL, whoever started it."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                words = Path("/proc", str(pid), "cmdline").read_bytes().decode(errors="replace").split("\0")
                if any(Path(word).name == "ast3d" for word in words[:4]) and "--root" in words:
                    os.kill(pid, signal.SIGKILL)

    def set_clock(self, seconds: int) -> None:
        """Its wall clock is wrong by so much from now on; only where the plan has `clocks`."""
        clock.put_off(self._clock, seconds)

    def configure(self, more: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Write its configuration, with `more` over the plan's, and have it read."""
        self.more = {name: dict(values) for name, values in (more or {}).items()}
        self._configure()
        for service in ("ast3d", "ast3-ha"):
            self.signal(service, signal.SIGHUP)

    # --- what is seen of it

    def log(self, daemon: str) -> list[LogLine]:
        """All that it has said, oldest first; torn lines left out."""
        path = self.root / "log" / f"{daemon}.log"
        return [line for text in _lines(path) if (line := parse(text))]

    def events(self, name: str, since: int = 0) -> list[LogLine]:
        """Those of ast3-ha of that name, after the first `since` lines of its log."""
        return [line for line in self.log("ast3-ha")[since:] if line.event == name]

    def said(self, most: int = 40) -> str:
        """The last lines of each of its logs, for who looks why something failed; etcd says the same again and again."""
        files = [*sorted((self.root / "log").glob("*.log")), *sorted(self._services.glob("*.out")), self.root / "console"]
        ends = {file: _lines(file)[-most if file.stem != "etcd" else -5 :] for file in files}
        return "\n".join(f"--- {self.name} {file.name}\n" + "\n".join(lines) for file, lines in ends.items() if lines)

    def ctl(self, *words: str, seconds: float = 10.0) -> Any:
        """`ast3ctl WORDS --json`, as on its console; None: no answer."""
        argv = [str(BIN / "ast3ctl"), "--root", str(self.root), *words, "--json"]
        with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
            return json.loads(subprocess.run(argv, capture_output=True, text=True, timeout=seconds, check=False).stdout)
        return None

    # --- how

    def _make(self) -> None:
        for folder in ("etc", "log", "state", "services", "python"):
            (self.root / folder).mkdir(parents=True)
        for folder in SHARED:
            (self.root / folder).symlink_to(self.site / "shared" / folder)
        self._poisoned, self._clock = self.root / "poisoned", self.root / "clock"
        (self.root / "python" / "sitecustomize.py").write_text(_POISON.format(marker=str(self._poisoned)))
        clock.put_off(self._clock, 0)
        if self.name in self.plan.disks:
            disk.make(self.root)
        self._configure()

    def _configure(self) -> None:
        addresses = {name: self.net.address(name) for name in self.plan.nodes}
        work = [] if self.plan.work is None else self._command(self.plan.work)
        text = paper.configuration(self.plan, self.name, addresses, self.site, work, self.more)
        (self.root / "etc" / "new").write_text(text)
        (self.root / "etc" / "new").rename(self.root / "etc" / "ast3d.yaml")

    def _command(self, seconds: float) -> list[str]:
        python = [sys.executable, "-I", "-S", str(HERE / "work.py"), str(self.site / "ledger"), str(seconds), self.name]
        return [*python, "{telescope}", "{frame}", "{out}"]

    def _serve(self) -> None:
        """The files of its services."""
        addresses = {name: self.net.address(name) for name in self.plan.nodes}
        keep: dict[str, tuple[list[str], bool]] = {
            "ast3d": ([str(BIN / "ast3d"), "--root", str(self.root), "--foreground"], False)
        }
        if (BIN / "ast3-ha").exists():
            keep["ast3-ha"] = ([str(BIN / "ast3-ha"), "--root", str(self.root), "--foreground"], True)
        if self.name in self.plan.members:
            keep["etcd"] = (paper.member(self.plan, self.name, addresses, self.root, self.site), True)
            if self.plan.slow:
                proxy = [sys.executable, "-I", "-S", str(HERE / "slow.py"), addresses[self.name], str(self.site / "delay")]
                keep["slow"] = ([*proxy, str(paper.SLOW_PORT), str(paper.CLIENT_PORT)], True)
        for name, (argv, again) in keep.items():
            self._write(
                self._services / f"{name}.json", {"argv": argv, "env": self._environment(name), "on": True, "again": again}
            )

    def _environment(self, service: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ETCD", "AST3"))}
        kept |= {"PYTHONPATH": str(self.root / "python"), "PYTHONUNBUFFERED": "1"}
        if self.plan.clocks and service != "etcd":
            kept |= clock.environment(self.site, self._clock)
        return kept

    @staticmethod
    def _write(file: Path, facts: dict[str, Any]) -> None:
        aside = file.with_suffix(".new")
        aside.write_text(json.dumps(facts))
        aside.rename(file)


def in_node(node: Node, *argv: str, seconds: float = 20.0) -> str:
    """Run a program in a node's network; -> what it said.  Raises OSError."""
    return run(*node.net.enter(node.name), *argv, seconds=seconds)


def _inner(pid: int) -> int:
    """How a process is called in its own world."""
    for line in Path("/proc", str(pid), "status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    return 0


def _lines(path: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace").splitlines()
    return []
