"""`ast3ctl ensure`: what cron runs every minute, should all that watches each other have gone at once.

Guarantee: it starts what nobody runs, ends what holds its lock and makes no progress, says in one line what it did, and
nothing when all is well.  It never starts what was stopped on purpose, by `ast3ctl stop` or by `systemctl stop`; of several
at once one works.  A process that is starved of CPU or disk is left alone.
It fails in one line and with status 1 where it can do nothing: no folder, no permission, no program.

This file stands alone, on the standard library: a copy of it goes on working whatever becomes of the code beside it.
    python3 -I ensure.py [--root DIR | --config F] [--bin DIR]
"""

import argparse
import fcntl
import json
import os
import pwd
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

SITE_RUN = Path("/run/ast3")
SITE_CONFIG = Path("/etc/ast3/ast3d.yaml")
SITE_LOCK = Path("/var/lib/ast3/state/ast3d.lock")
SYSTEMD = Path("/run/systemd/system")  # is there where systemd runs
NAMES = ("ast3d", "protectd")
MODULES = {"ast3-ha": "ha"}  # of the daemons that are not called as theirs

SILENT_SECONDS = 60.0  # since a daemon last wrote NAME.alive, until it is looked at
LOOK_SECONDS = 2.0  # between two looks at one
SPINNING = 0.25  # of one CPU, used between the looks: it computes and does not come round
ENDING_SECONDS = 5.0  # for what was killed to be gone
_FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, pid
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


class EnsureError(Exception):
    """It can do nothing; the message says why, in one line."""


class Look(NamedTuple):
    """One look at a process: its state letter, CPU seconds, and how often it has come to a CPU or waited for one."""

    state: str
    cpu: float
    turns: int
    delay: int


class Node(NamedTuple):
    """Which ast3d is meant; `where` names it on a command line."""

    run: Path
    lock: Path  # ast3d's
    where: list[str]
    programs: Path | None
    facts: dict[str, Any]

    @classmethod
    def of(cls, root: str | None, config: str | None, programs: str | None) -> "Node":
        """What the command line says, and what ast3d left in the run folder."""
        run = Path(root).absolute() / "run" if root is not None else SITE_RUN
        given = (("--root", root), ("--config", config))
        where = [word for name, path in given if path is not None for word in (name, str(Path(path).absolute()))]
        facts = read(run / "ast3d.json")
        if facts.get("root") != (os.path.realpath(root) if root is not None else None):
            facts = {}  # of another node, of which this one is a copy
        told = facts.get("lock")
        usual = Path(root).absolute() / "state" / "ast3d.lock" if root is not None else SITE_LOCK
        lock = Path(told) if isinstance(told, str) and told.startswith("/") and "\0" not in told else usual
        return cls(run, lock, where, Path(programs).absolute() if programs else None, facts)

    @property
    def names(self) -> tuple[str, ...]:
        """The daemons that run here; ast3-ha where ast3d found its node to be one of several."""
        return (*NAMES, "ast3-ha") if self.facts.get("ha") is True else NAMES

    @property
    def patience(self) -> float:
        """Seconds; the configuration may have the daemons speak more rarely than usual."""
        told: Any = self.facts.get("protect")
        period: Any = told.get("period_seconds") if isinstance(told, dict) else None
        return max(SILENT_SECONDS, 3.0 * period if type(period) in {int, float} and 0 < period <= 60 else 0.0)

    def lock_of(self, name: str) -> Path:
        """The file whose record lock the one daemon of that name holds."""
        return self.lock if name == "ast3d" else self.run / f"{name}.lock"

    def argv(self, name: str) -> list[str]:
        """How a daemon is started: as it was the last time, unless it is said where the programs are."""
        told: Any = self.facts.get("argv")
        where = [*self.where, "--foreground", *(["--again"] if name == "ast3d" else [])]
        usable = isinstance(told, list) and told and all(isinstance(word, str) and "\0" not in word for word in told)
        if usable and self.programs is None and os.access(told[0], os.X_OK):
            return list(told) if name == "ast3d" else [told[0], "-P", "-m", MODULES.get(name, name), *where]
        folder = self.programs or Path(sys.executable).parent
        program = shutil.which(name, path=str(folder)) or (None if self.programs else shutil.which(name))
        if program is None:
            raise EnsureError(f"no program {name} in {folder}; say with --bin where it is")
        return [program, *where]


def ensure(root: str | None, config: str | None, programs: str | None) -> Iterator[str]:
    """Do what is to be done; a line for each thing done.  EnsureError where it cannot."""
    if root is not None and not Path(root).is_dir():
        raise EnsureError(f"--root {root!a}: no such folder")
    run = Node.of(root, config, programs).run
    if root is None and not run.is_dir() and not Path(config or SITE_CONFIG).is_file():
        missing = f"neither {run} nor {config or SITE_CONFIG}"
        raise EnsureError(f"{missing}: nothing is installed here; a node elsewhere is named with --root")
    try:
        _make_run(run)
        # Whoever made it, anybody may lock it.
        mine = os.open(run / "ensure.lock", os.O_RDONLY | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if is_stopped(run):
                return
            node = Node.of(root, config, programs)
            unit = show("ast3d") if root is None and SYSTEMD.is_dir() else {}
            yield from _by_systemd(node, unit) if unit.get("LoadState") == "loaded" else _by_hand(node)
        except BlockingIOError:
            return
        finally:
            os.close(mine)
    except OSError as error:
        raise EnsureError(f"{error.filename or run}: {error.strerror or error}") from error


def _make_run(run: Path) -> None:
    """A reboot takes a site's away."""
    if not run.is_dir():
        run.mkdir()
        run.chmod(0o755)


# --- without systemd


def _by_hand(node: Node) -> Iterator[str]:
    _become_owner(node.run)
    started = False
    for name in node.names:
        if pid := holder(node.lock_of(name)):
            yield from _heal(node, name, pid)
        if (started and name == "protectd") or holder(node.lock_of(name)) or holder(node.run / f"{name}.begin"):
            continue  # ast3d starts its protectd by itself
        argv = node.argv(name)
        subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
            start_new_session=True,
        )  # fmt: skip
        started = True
        yield f"started {name}: nobody ran it"


def _become_owner(run: Path) -> None:
    """Root runs nothing that the owner of the run folder may have changed: it becomes that one."""
    owner = run.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:
        try:
            name = pwd.getpwuid(owner.st_uid).pw_name
        except KeyError:
            raise EnsureError(f"{run} belongs to the uid {owner.st_uid}, and there is no such user") from None
        os.initgroups(name, owner.st_gid)
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


# --- with systemd


def _by_systemd(node: Node, unit: dict[str, str]) -> Iterator[str]:
    """A unit that somebody stopped was active in this boot and did not fail: it stays so."""
    for name in node.names:
        unit = unit if name == "ast3d" else show(name)
        if pid := holder(node.lock_of(name)):
            yield from _heal(node, name, pid)
        elif why := needs_start(unit):
            yield _ask_systemd(node, name, why)


def needs_start(unit: dict[str, str]) -> str:
    """Why a unit is to be started, by what systemd says of it; empty where it is not.  Pure."""
    if unit.get("LoadState") != "loaded":
        return ""
    if unit.get("ActiveState") == "failed":
        return f"it has failed ({unit.get('Result')})"
    never = unit.get("ActiveEnterTimestampMonotonic") in {"", "0"}
    return "it was never active since the boot" if unit.get("ActiveState") == "inactive" and never else ""


def show(name: str) -> dict[str, str]:
    """What systemd knows of a unit."""
    properties = "LoadState,ActiveState,Result,ActiveEnterTimestampMonotonic"
    said = _systemctl("show", "-p", properties, f"{name}.service")
    return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)


def _ask_systemd(node: Node, name: str, why: str) -> str:
    """By itself as root; else by a file that systemd waits for."""
    if os.geteuid() == 0:
        _systemctl("start", "--no-block", f"{name}.service")
    else:
        (node.run / f"start-{name}").touch()
    return f"had systemd start {name}: {why}"


def _systemctl(*words: str) -> str:
    try:
        done = subprocess.run(["systemctl", *words], capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        raise EnsureError(f"systemctl {words[0]} gives no answer within 20 s") from None
    if done.returncode:
        raise EnsureError(f"systemctl {' '.join(words)}: {' '.join(done.stderr.split()) or done.returncode}")
    return done.stdout


# --- what holds its lock and may hang


def _heal(node: Node, name: str, pid: int) -> Iterator[str]:
    """End a daemon that makes no progress; whoever watches it, or this, starts it again."""
    seen = start_of(pid)
    if seen is None or silent_for(read(node.run / f"{name}.alive"), pid, *seen) <= node.patience:
        return
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if start_of(pid) != seen or (name == "ast3d" and _answers(node.run)):
            return
        first = look(pid)
        time.sleep(LOOK_SECONDS)
        if (verdict := judge(first, look(pid))) and not is_stopped(node.run):
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], ENDING_SECONDS)
            yield f"killed {name}, pid {pid}: {verdict}"
    except ProcessLookupError:
        return
    finally:
        os.close(process)


def silent_for(alive: dict[str, Any], pid: int, ticks: int, started: float) -> float:
    """Seconds since the process last said that it goes on; where it never did, since it started."""
    at: Any = alive.get("at")
    mine = alive.get("pid") == pid and alive.get("ticks") == ticks and alive.get("boot") == boot_id()
    since = float(at) if mine and type(at) in {int, float} and at <= boottime() else started
    return boottime() - since


def judge(first: Look | None, second: Look | None) -> str:
    """Why a silent process is to be ended, by two looks at it; empty where it is not.  Pure."""
    if first is None or second is None:
        return ""
    states = {first.state, second.state}
    if states <= {"T", "t"}:
        return "it was stopped by a signal"
    if "D" in states:
        return ""
    if second.cpu - first.cpu >= SPINNING * LOOK_SECONDS:
        return "it computed and made no progress"
    if states == {"S"} and first[1:] == second[1:]:
        return "it slept and nothing woke it"
    return ""


def look(pid: int) -> Look | None:
    """How a process is; None where there is none."""
    try:
        state, fields = _stat(pid)
        delay = int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1])
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return None
    turns = sum(int(line.split()[1]) for line in status if "ctxt_switches:" in line)
    return Look(state, (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND, turns, delay)


def start_of(pid: int) -> tuple[int, float] | None:
    """When a process started: in clock ticks since the boot, which name it together with the pid, and in seconds."""
    try:
        ticks = int(_stat(pid)[1][19])
    except (FileNotFoundError, ProcessLookupError):
        return None
    return ticks, ticks / _TICKS_A_SECOND


def _stat(pid: int) -> tuple[str, list[str]]:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return fields[0], fields


def _answers(run: Path) -> bool:
    """Whether ast3d answers an operator: then it is well, although it cannot write that it is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(LOOK_SECONDS)
        folder = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            connection.connect(f"/proc/self/fd/{folder}/control.sock")  # the folder's own name may be too long
            connection.sendall(b'{"verb": "status"}\n')
            return bool(connection.recv(1))
        except OSError:
            return False
        finally:
            os.close(folder)


# --- small things


def holder(lock: Path) -> int:
    """The pid that holds the record lock on a file, as the kernel says; 0 where nobody does."""
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        asked = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack_from(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    finally:
        os.close(fd)
    return int(pid) if kind != fcntl.F_UNLCK and pid > 0 else 0


def is_stopped(run: Path) -> bool:
    """Whether there is the marker of a stop on purpose.  One that names another boot says nothing of this one."""
    marker = run / "stopped"
    return os.path.lexists(marker) and read(marker).get("boot", boot_id()) == boot_id()


def read(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an empty one where there is none that can be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        value = json.loads(os.read(fd, 65536))
    except (OSError, ValueError, RecursionError):
        return {}
    finally:
        os.close(fd)
    return value if isinstance(value, dict) else {}


def boottime() -> float:
    """Seconds since the kernel started, suspension included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """The kernel's name for this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def main(argv: Sequence[str] | None = None) -> int:
    """-> 0 all is well now, 1 it could do nothing, 2 the call is wrong."""
    parser = argparse.ArgumentParser(prog="ensure", description="Start what is missing of ast3, and end what hangs.")
    parser.add_argument("--root", metavar="DIR", help="the folder that ast3d was given with --root")
    parser.add_argument("--config", metavar="F", help="the site's configuration, handed to ast3d")
    parser.add_argument("--bin", metavar="DIR", help="where the programs ast3d and protectd are")
    options = parser.parse_args(argv)
    try:
        for line in ensure(options.root, options.config, options.bin):
            print(f"ensure: {line}", flush=True)
    except EnsureError as error:
        print(f"ensure: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
