"""What is to be done to install and to remove, as a list of steps: pure, so that `--dry-run` shows what would be done.

What is as it should be takes no step.  The operator's configuration, data and logs, and drop-ins of the units, are never
touched.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ast3ctl import install_facts as f
from ast3ctl.install_facts import OPERATORS, USER, Facts
from ast3ctl.problem import ProblemError

# Where the services see nothing, or nothing for long: ProtectHome, PrivateTmp, and what cleans /tmp.
_HIDDEN = tuple(map(Path, ("/root", "/home", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108  nothing is put there
_PLAIN = re.compile(r"[A-Za-z0-9_./+-]+")
_ELSEWHERE = "install the suite elsewhere, such as `python3 -m venv /opt/ast3`, and call ast3ctl there"


@dataclass(frozen=True)
class Run:
    """A command; `words` say what for."""

    words: str
    argv: tuple[str, ...]


@dataclass(frozen=True)
class Write:
    """A file of root's with this text, in one go."""

    words: str
    path: Path
    text: str
    mode: int


@dataclass(frozen=True)
class MakeFolder:
    """A folder of the service's user; those above it that are missing are root's."""

    path: Path
    mode: int


@dataclass(frozen=True)
class Remove:
    """A file, or an empty folder."""

    path: Path


Step = Run | Write | MakeFolder | Remove


@dataclass(frozen=True)
class Plan:
    """The steps in order, and what an operator should know besides."""

    steps: tuple[Step, ...]
    notes: tuple[str, ...] = ()


def files(sources: f.Sources, commands: Path) -> dict[Path, tuple[str, int]]:
    """The files that are the suite's own, as they should be: text and mode."""
    texts = {f.UNITS / name: text for name, text in sources.units.items()}
    texts |= {f.TMPFILES: sources.tmpfiles, f.CRON: sources.cron}
    own = {path: (text.replace("@BIN@", str(commands)), 0o644) for path, text in texts.items()}
    return own | {f.ENSURE: (sources.ensure, 0o755)}


def links(sources: f.Sources) -> dict[str, Path]:
    """By unit, the link that enables it."""
    wanted = {name: re.search(r"^WantedBy=(\S+)$", text, re.MULTILINE) for name, text in sources.units.items()}
    return {name: f.ENABLED / f"{match[1]}.wants" / name for name, match in wanted.items() if match}


def install(facts: Facts, *, start: bool) -> Plan:
    """Whatever is missing or not as it should be; ProblemError where the suite lies where no service can read it."""
    _demand_reach(facts)
    written = _written(facts)
    steps = [
        *_accounts(facts),
        *_folders(facts),
        *_run_folder(facts),
        *_config(facts),
        *(step for step in written if step.path != f.CRON),
    ]
    if facts.systemd == "running" and any(_is_systemds(step.path) for step in written):
        steps.append(Run("tell systemd", ("systemctl", "daemon-reload")))
    if facts.systemd == "running" and any(step.path == f.TMPFILES for step in written):
        steps.append(Run("make /run/ast3", ("systemd-tmpfiles", "--create", str(f.TMPFILES))))
    off = [name for name, link in links(facts.sources).items() if link not in facts.present]
    if facts.systemd != "absent" and off:
        steps.append(Run(f"enable {' '.join(off)}", ("systemctl", *_root(facts), "--quiet", "enable", *off)))
    if facts.systemd == "running" and start and not facts.active:
        steps.append(Run("start ast3.target", ("systemctl", "--no-block", "start", "ast3.target")))
    steps += [step for step in written if step.path == f.CRON]  # which starts what it does not find
    return Plan(tuple(steps), tuple(_notes(facts, written)))


def uninstall(facts: Facts) -> Plan:
    """What `install` made goes, cron first; what is the site's stays."""
    steps: list[Step] = [Remove(f.CRON)] if f.CRON in facts.texts else []
    own = links(facts.sources)
    if facts.systemd == "running" and facts.active:
        steps.append(Run("stop everything", ("systemctl", "stop", *own)))
    if facts.systemd != "absent" and (on := [name for name, link in own.items() if link in facts.present]):
        steps.append(Run(f"disable {' '.join(on)}", ("systemctl", *_root(facts), "--quiet", "disable", *on)))
    ours = [path for path in facts.texts if path not in {f.CRON, f.CONFIG}]
    steps += [Remove(path) for path in ours]
    steps += [Remove(folder) for folder in (f.ENSURE.parent,) if f.ENSURE in ours]
    if facts.systemd == "running" and any(_is_systemds(path) for path in ours):
        steps.append(Run("tell systemd", ("systemctl", "daemon-reload")))
    folders = ", ".join(str(path) for path, mode in facts.wanted if path in facts.present and mode == 0o755)
    notes = [f"data, logs and configuration stay: {f.CONFIG.parent}, {folders}"] if folders else []
    if f"user:{USER}" in facts.accounts:
        notes.append(f"the user {USER}, whose they are, and the groups {USER} and {OPERATORS} stay too: `userdel {USER}`")
    return Plan(tuple(steps), tuple(notes) if steps else ())


def unreachable(facts: Facts) -> str:
    """Why the services could not read the commands, or what these need; empty if they could."""
    for place in facts.reach:
        hidden = next((folder for folder in _HIDDEN if place.path.is_relative_to(folder)), None)
        if hidden:
            lies = max((p.path for p in facts.reach if p.path.is_relative_to(hidden)), key=lambda path: len(path.parts))
            return f"{lies} is below {hidden}, where the services see nothing"
        if place.uid == -1:
            return f"there is no {place.path}"
        if not place.mode & (0o001 if place.folder else 0o005):
            return f"{place.path} is closed for the user {USER} (mode {place.mode:04o})"
    return ""


def _demand_reach(facts: Facts) -> None:
    if not _PLAIN.fullmatch(str(facts.bin)):
        raise ProblemError(f"{facts.bin} cannot be named in units and in cron's lines: {_ELSEWHERE}")
    if why := unreachable(facts):
        raise ProblemError(f"{why}: {_ELSEWHERE}")


def _accounts(facts: Facts) -> list[Step]:
    prefix = () if facts.prefix == Path("/") else ("--prefix", str(facts.prefix))
    steps: list[Step] = [
        Run(f"make the group {group}", ("groupadd", *prefix, "--system", group))
        for group in (USER, OPERATORS)
        if f"group:{group}" not in facts.accounts
    ]
    if f"user:{USER}" not in facts.accounts:
        about = ("--gid", USER, "--home-dir", "/var/lib/ast3", "--no-create-home", "--shell", "/usr/sbin/nologin")
        steps.append(Run(f"make the user {USER}, who cannot log in", ("useradd", *prefix, "--system", *about, USER)))
    return steps


def _run_folder(facts: Facts) -> list[Step]:
    """Systemd makes it by itself; without it cron does at each boot, and somebody must today."""
    here = facts.systemd == "absent" and facts.prefix == Path("/") and f.RUN not in facts.present
    return [MakeFolder(f.RUN, 0o755)] if here else []


def _folders(facts: Facts) -> list[Step]:
    return [
        MakeFolder(path, mode)
        for path, mode in facts.wanted
        if path not in facts.present and not any(path.is_relative_to(folder) for folder in _HIDDEN)
    ]


def _config(facts: Facts) -> list[Step]:
    if f.CONFIG in facts.texts:
        return []
    return [Write("write, for you to edit,", f.CONFIG, facts.sources.config, 0o644)]


def _written(facts: Facts) -> list[Write]:
    steps = []
    for path, (text, mode) in files(facts.sources, facts.bin).items():
        if (facts.texts.get(path), facts.modes.get(path)) != (text, mode):
            steps.append(Write("replace" if path in facts.texts else "write", path, text, mode))
    return steps


def _notes(facts: Facts, written: list[Write]) -> list[str]:
    notes = []
    if facts.active and any(step.path.suffix == ".service" for step in written):
        notes.append("the daemons take a changed unit at their next start: `systemctl restart ast3d protectd`")
    if facts.systemd == "absent":
        notes.append("no systemd here: cron starts ast3d within a minute")
    if facts.systemd != "absent" and not facts.bus:
        notes.append("no D-Bus here, without which the user ast3 cannot ask systemd what runs: `apt-get install dbus`")
    if not facts.cron:
        notes.append("no cron here, which is the last to notice that something is down: `apt-get install cron`")
    for path, _ in facts.wanted:
        if hidden := next((folder for folder in _HIDDEN if path.is_relative_to(folder)), None):
            notes.append(f"{path} is below {hidden}, where ast3d.service sees nothing: name another folder in {f.CONFIG}")
    notes += [f"{path} does not belong to {USER}: see that {USER} may write there" for path in facts.closed]
    return notes


def _root(facts: Facts) -> tuple[str, ...]:
    return () if facts.prefix == Path("/") else (f"--root={facts.prefix}",)


def _is_systemds(path: Path) -> bool:
    return path.parent == f.UNITS
