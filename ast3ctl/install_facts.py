"""What is on a machine that matters for installing, as data: found here, judged in `install_plan`."""

import grp
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ast3ctl.problem import ProblemError
from ast3d.common.config import load_lenient

USER = "ast3"
OPERATORS = "ast3-operators"
CONFIG = Path("/etc/ast3/ast3d.yaml")
ENSURE = Path("/usr/local/lib/ast3/ensure")
UNITS = Path("/usr/local/lib/systemd/system")
ENABLED = Path("/etc/systemd/system")
TMPFILES = Path("/usr/local/lib/tmpfiles.d/ast3.conf")
CRON = Path("/etc/cron.d/ast3")
RUN = Path("/run/ast3")

Systemd = Literal["running", "offline", "absent"]  # offline: units can be enabled, and nothing can be started


@dataclass(frozen=True)
class Place:
    """A file or folder that the service's user must be able to read, and whose mode that is."""

    path: Path
    mode: int
    uid: int = 0  # -1: there is none
    folder: bool = True


@dataclass(frozen=True)
class Sources:
    """What the suite brings with it; `@BIN@` in a text stands for the folder of the commands."""

    units: dict[str, str]
    tmpfiles: str
    cron: str
    ensure: str
    config: str


@dataclass(frozen=True)
class Facts:
    """One machine.  All paths are as the machine itself names them; `prefix` is where its root is seen from here."""

    prefix: Path
    bin: Path
    sources: Sources
    systemd: Systemd = "running"
    active: bool = False  # ast3.target is
    cron: bool = True  # is installed
    bus: bool = True  # D-Bus is installed: by it a user asks systemd
    accounts: frozenset[str] = frozenset()  # users and groups, as "user:NAME" and "group:NAME"
    texts: dict[Path, str] = field(default_factory=dict)  # of the files that install would write and that are there
    modes: dict[Path, int] = field(default_factory=dict)  # of the same files
    present: frozenset[Path] = frozenset()  # folders and links that install would make and that are there
    wanted: tuple[tuple[Path, int], ...] = ()  # the folders that the configuration names, with the modes for new ones
    closed: tuple[Path, ...] = ()  # those of them that are there, and that the service's user does not own
    reach: tuple[Place, ...] = ()


def sources() -> Sources:
    """From the checkout, or from where pip put them; ProblemError if a part is missing."""
    places = [Path(__file__).parent.parent, Path(sys.prefix) / "share" / "ast3"]
    place = next((p for p in places if (p / "systemd-units" / "ast3.target").is_file()), None)
    if place is None:
        raise ProblemError(f"no systemd-units/ in {' or '.join(map(str, places))}: install the suite again with pip")
    try:
        units = {p.name: p.read_text() for p in sorted((place / "systemd-units").iterdir()) if p.is_file()}
        return Sources(
            units=units,
            tmpfiles=(place / "systemd-units" / "tmpfiles.d" / "ast3.conf").read_text(),
            cron=(place / "conf" / "cron.d" / "ast3").read_text(),
            ensure=(Path(__file__).parent / "ensure.py").read_text(),
            config=(place / "conf" / "ast3d.yaml").read_text(),
        )
    except OSError as error:
        raise ProblemError(f"{error.filename}: {error.strerror}: install the suite again with pip") from error


def find(prefix: Path, bin_folder: Path | None, written: Iterable[Path], links: Iterable[Path]) -> Facts:
    """The facts of the machine whose root is `prefix`; `written`, `links`: what a complete installation would have."""

    def real(path: Path) -> Path:
        return prefix / path.relative_to("/")

    own = sources()
    files = {path: real(path) for path in written if real(path).is_file()}
    config = load_lenient(real(CONFIG))[0] if real(CONFIG).exists() else load_lenient(Path(os.devnull))[0]
    wanted = _wanted(config.paths.as_dict(), list(config.telescopes))
    commands = (bin_folder or Path(sysconfig.get_path("scripts"))).absolute()
    there = {RUN, *links, *(path for path, _ in wanted)}
    return Facts(
        prefix=prefix,
        bin=commands,
        sources=own,
        systemd=_systemd(prefix),
        active=prefix == Path("/") and _is_active(),
        cron=_has(prefix, "cron"),
        bus=_has(prefix, "dbus-daemon", "dbus-broker"),
        accounts=_accounts(prefix),
        texts={path: where.read_text(errors="replace") for path, where in files.items()},
        modes={path: stat.S_IMODE(where.stat().st_mode) for path, where in files.items()},
        present=frozenset(path for path in there if os.path.lexists(real(path))),
        wanted=wanted,
        closed=tuple(path for path, _ in wanted if real(path).is_dir() and real(path).stat().st_uid != owner(prefix)[0]),
        reach=_reach(commands),
    )


def owner(prefix: Path) -> tuple[int, int]:
    """User and group id of the service's user under `prefix`; -1 where there is none."""
    if prefix == Path("/"):
        try:
            return pwd.getpwnam(USER).pw_uid, grp.getgrnam(USER).gr_gid
        except KeyError:
            return -1, -1
    return _id(prefix / "etc" / "passwd"), _id(prefix / "etc" / "group")


def _id(table: Path) -> int:
    rows = [line.split(":") for line in table.read_text().splitlines()] if table.exists() else []
    return next((int(row[2]) for row in rows if row[0] == USER), -1)


def _accounts(prefix: Path) -> frozenset[str]:
    if prefix == Path("/"):
        names = {f"user:{u.pw_name}" for u in pwd.getpwall()} | {f"group:{g.gr_name}" for g in grp.getgrall()}
        return frozenset(names)
    found = set()
    for kind, name in (("user", "passwd"), ("group", "group")):
        table = prefix / "etc" / name
        lines = table.read_text().splitlines() if table.exists() else []
        found |= {f"{kind}:{line.split(':')[0]}" for line in lines}
    return frozenset(found)


def _wanted(paths: dict[str, str], telescopes: list[str]) -> tuple[tuple[Path, int], ...]:
    """Members of the group ast3 may put frames into the pools."""
    folders = [(Path("/var/lib/ast3"), 0o755)]
    for name, folder in paths.items():
        if name != "run":
            folders.append((Path(folder), 0o755))
        if name == "incoming":
            folders += [(Path(folder, telescope), 0o2775) for telescope in telescopes]
    return tuple(dict(folders).items())


def _has(prefix: Path, *programs: str) -> bool:
    return any((prefix / "usr" / folder / name).exists() for folder in ("bin", "sbin") for name in programs)


def _systemd(prefix: Path) -> Systemd:
    if prefix == Path("/") and Path("/run/systemd/system").is_dir():
        return "running"
    return "offline" if shutil.which("systemctl") else "absent"


def _is_active() -> bool:
    """Or is about to be."""
    if not shutil.which("systemctl"):
        return False
    argv = ["systemctl", "show", "--property=ActiveState,Job", "ast3.target"]
    said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.splitlines()
    return "ActiveState=active" in said or any(re.fullmatch("Job=[1-9][0-9]*", line) for line in said)


def _reach(commands: Path) -> tuple[Place, ...]:
    """The commands, the Python that runs them, the package, and all folders above these."""
    ends = [commands / "ast3d", commands / "protectd", Path(sys.executable), Path(sys.executable).resolve()]
    ends += [Path(sys.base_prefix, "lib"), Path(__file__).resolve()]
    places = dict.fromkeys(place for end in ends for place in (*reversed(end.parents), end))
    found = []
    for path in places:
        if path.exists():
            status = path.stat()
            found.append(Place(path, stat.S_IMODE(status.st_mode), status.st_uid, path.is_dir()))
        else:
            found.append(Place(path, 0, -1, folder=False))
    return tuple(found)
