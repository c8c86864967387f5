"""A machine with real systemd as its first process, over an overlay of this machine's root.

What is written inside stays inside, and survives a power cut and a reboot, until the machine is closed.  All mounts and
processes are in namespaces of their own, whose first process, the keeper, ends with its standard input: the kernel ends
them with the keeper, and the keeper with the process that made it, however that ends.  Every wait is bounded.
"""

import contextlib
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

BOOT_SECONDS = 120.0
STOP_SECONDS = 60.0
RUN_SECONDS = 60.0
_REBOOTED = 133  # nspawn's exit status where the machine wants to be started again
_NEEDED = ("systemd-nspawn", "nsenter", "unshare", "systemctl")
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/root"}

# Units of this machine that have no business in another one, or wait for a network.
_NOT_WANTED = ("systemd-networkd-wait-online", "snmpd", "postfix", "inetd", "postgresql", "apt-daily", "apt-daily-upgrade")

# The tmpfs is the disk of the machine; an overlay must not lie on its own lower layer.
_KEEP = """\
set -e
mount -t tmpfs -o size=2G tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
echo kept
read -r _ || true
"""


# Where no systemd hands out control groups, a machine makes one for itself: two in the same would end each other's services.
_JOIN = """\
for tree in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    [ -e "$tree/cgroup.procs" ] || continue
    mkdir -p "$tree/$1" && echo $$ > "$tree/$1/cgroup.procs"
done
shift
exec "$@"
"""
_TREES = tuple(map(Path, ("/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")))


class NoMachineError(Exception):
    """No machine can be made here: the text says what is missing."""


class StuckError(Exception):
    """What was waited for did not come in time."""


class Machine:
    """One machine; between `with` and `boot` its root can be prepared by `prepare` and at `root`.

    `binds`: folder of this machine -> where it is seen inside, read-only.
    """

    def __init__(self, binds: dict[Path, Path] | None = None) -> None:
        self.binds = binds or {}
        self.name = f"ast3-{secrets.token_hex(4)}"
        self.leader = 0
        self.boot_seconds = 0.0
        self._nspawn: subprocess.Popen | None = None
        self._leader_fd = -1
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        _demand_tools()
        with contextlib.ExitStack() as stack:
            self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ast3-machine-")))
            self._disk = self.folder / "disk"
            self._disk.mkdir()
            self._keeper = self._keep(stack)
            self.root = Path(f"/proc/{self._keeper.pid}/root{self._disk}/root")
            self._tidy()
            stack.callback(self._remove_groups)
            stack.callback(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- before the boot

    def prepare(self, *argv: str | Path, seconds: float = 600.0, binds: dict[Path, Path] | None = None) -> None:
        """Run a command in the machine's root before it boots, with this machine's network; `binds` are writable."""
        lines = ["set -e", 'cd "$1"', "shift", "for f in proc sys dev; do mount --rbind /$f $f; done"]
        for outside, inside in (binds or {}).items():
            lines += [f"mkdir -p .{inside}", f"mount --bind {outside} .{inside}"]
        script = "\n".join([*lines, 'exec chroot . "$@"'])
        command = [*self._enter(), "unshare", "--mount", "sh", "-c", script, "sh", str(self._disk / "root"), *map(str, argv)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=_prepared())
        if done.returncode:
            raise StuckError(f"{' '.join(map(str, argv))}: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    # --- life

    def boot(self, target: str = "multi-user.target") -> float:
        """Switch it on, or on again: returns when systemd says that its start is over; -> seconds that took."""
        assert self._nspawn is None, "it runs"
        began = time.monotonic()
        ready, log = self.folder / "ready", self.folder / "console"
        ready.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear, log.open("wb") as console:
            ear.bind(str(ready))
            self._nspawn = subprocess.Popen(
                self._boot_command(target),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=_ENVIRONMENT | {"NOTIFY_SOCKET": str(ready)},
            )
            self._await_start(ear, began + BOOT_SECONDS)
        self.boot_seconds = time.monotonic() - began
        return self.boot_seconds

    def run(self, *argv: str | Path, seconds: float = RUN_SECONDS, check: bool = False) -> subprocess.CompletedProcess:
        """Run a command inside, as root."""
        command = ["nsenter", "-t", str(self.leader), "-a", "--", *map(str, argv)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=_ENVIRONMENT)
        if check and done.returncode:
            raise StuckError(f"{' '.join(map(str, argv))}: exit code {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def power_cut(self) -> None:
        """Everything inside is gone at once; what it had written is there at the next boot."""
        signal.pidfd_send_signal(self._leader_fd, signal.SIGKILL)
        self._await_end()

    def reboot(self) -> float:
        """A clean reboot; -> seconds from the order until the new start is over."""
        began = time.monotonic()
        self.run("systemctl", "reboot")
        if (code := self._await_end()) != _REBOOTED:
            raise StuckError(f"asked to reboot, it ended with {code}: {self.console()}")
        self.boot()
        return time.monotonic() - began

    def stop(self) -> None:
        """A clean end."""
        self.run("systemctl", "poweroff")
        self._await_end()

    def console(self) -> str:
        """What it last said at its boot."""
        return (self.folder / "console").read_text(errors="replace")[-3000:]

    # --- how

    def _keep(self, stack: contextlib.ExitStack) -> subprocess.Popen:
        own = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc"]
        command = [*own, "sh", "-c", _KEEP, "sh", str(self._disk)]
        keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        stack.callback(_release, keeper)
        assert keeper.stdout
        if keeper.stdout.readline() != "kept\n":
            assert keeper.stderr
            raise NoMachineError(f"no overlay of this machine's root: {keeper.stderr.read().strip()}")
        return keeper

    def _tidy(self) -> None:
        """What this machine is, the other one is not."""
        units = self.root / "etc" / "systemd" / "system"
        (self.root / "etc" / "machine-id").unlink(missing_ok=True)
        for wants in ("multi-user.target.wants", "timers.target.wants"):
            for link in (units / wants).glob("*"):
                if link.name != "cron.service":
                    link.unlink()
        for name in _NOT_WANTED:
            unit = units / f"{name}.service"
            unit.unlink(missing_ok=True)
            unit.symlink_to("/dev/null")

    def _boot_command(self, target: str) -> list[str]:
        """nspawn among the keeper's mounts and processes."""
        managed = Path("/run/systemd/system").is_dir()
        binds = [f"--bind-ro={outside}:{inside}" for outside, inside in self.binds.items()]
        return [
            *(() if managed else ("sh", "-c", _JOIN, "sh", self.name)),
            *self._enter(),
            *("systemd-nspawn", "-q", "-D", str(self._disk / "root"), f"--machine={self.name}", "--register=no"),
            *(() if managed else ("--keep-unit",)),
            *("--private-network", "--notify-ready=yes", *binds, "-b", f"systemd.unit={target}"),
        ]

    def _await_start(self, ear: socket.socket, deadline: float) -> None:
        """The leader's pid comes first, then that the start is over."""
        assert self._nspawn
        gone = os.pidfd_open(self._nspawn.pid)
        try:
            while True:
                ready, _, _ = select.select([ear, gone], [], [], max(deadline - time.monotonic(), 0))
                if ear not in ready:
                    why = "it ended" if ready else f"not up after {BOOT_SECONDS:g} s"
                    raise StuckError(f"{why}: {self.console()}")
                told = dict(line.partition("=")[::2] for line in ear.recv(4096).decode().splitlines())
                if "X_NSPAWN_LEADER_PID" in told:
                    self.leader = self._find_leader(told["X_NSPAWN_LEADER_PID"])
                    self._leader_fd = os.pidfd_open(self.leader)
                if told.get("READY") == "1":
                    return
        finally:
            os.close(gone)

    def _enter(self) -> list[str]:
        here = f"/proc/{self._keeper.pid}/ns"
        return ["nsenter", f"--mount={here}/mnt", f"--pid={here}/pid_for_children"]

    def _find_leader(self, told: str) -> int:
        """The first process of the machine, as it is called here; nspawn told how it is called among the keeper's."""
        assert self._nspawn
        below = [self._nspawn.pid]
        for pid in below:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
                status = Path(f"/proc/{pid}/status").read_text()
                if next(line.split()[2:] for line in status.splitlines() if line.startswith("NSpid:")) == [told, "1"]:
                    return pid
                below += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        raise StuckError(f"no process {told} among those of nspawn")

    def _await_end(self) -> int:
        assert self._nspawn
        try:
            code = self._nspawn.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise StuckError(f"not down after {STOP_SECONDS:g} s: {self.console()}") from error
        self._nspawn, self.leader = None, 0
        os.close(self._leader_fd)
        self._leader_fd = -1
        return code

    def _end(self) -> None:
        """Whatever state it is in."""
        if self._nspawn is None:
            return
        if self._leader_fd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._leader_fd, signal.SIGKILL)
            os.close(self._leader_fd)
            self._leader_fd = -1
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._nspawn.wait(5.0)
        self._nspawn.kill()
        self._nspawn.wait(STOP_SECONDS)
        self._nspawn = None

    def _remove_groups(self) -> None:
        """Empty ones, from the leaves up; those of a machine that hangs stay."""
        for tree in _TREES:
            for group, _, _ in os.walk(tree / self.name, topdown=False):
                with contextlib.suppress(OSError):
                    Path(group).rmdir()


def _demand_tools() -> None:
    if os.geteuid() != 0:
        raise NoMachineError("a machine of its own needs root")
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    if missing := [tool for tool in _NEEDED if not shutil.which(tool, path=path)]:
        raise NoMachineError(f"not installed: {', '.join(missing)} (package systemd-container)")


def _prepared() -> dict[str, str]:
    """The system's own programs first, and how pip finds its packages here."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return kept | _ENVIRONMENT


def _release(keeper: subprocess.Popen) -> None:
    assert keeper.stdin
    keeper.stdin.close()
    try:
        keeper.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
    for pipe in (keeper.stdout, keeper.stderr):
        assert pipe
        pipe.close()
