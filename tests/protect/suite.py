"""The suite as a site has it: in a venv of the system's own Python, outside /root, installed from this checkout by pip.

What it depends on is fetched once per checkout and list of requirements, and kept in build/machine/; for each state of the
sources a copy of that (of links, so it costs no space) gets the suite itself.
"""

import configparser
import fcntl
import hashlib
import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.protect.machine import Machine

CHECKOUT = Path(__file__).resolve().parents[2]
INSIDE = Path("/opt/ast3")  # where the venv is inside the machine
SOURCES = Path("/opt/ast3-sources")
_PYTHON = Path("/usr/bin/python3")
_FILES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
_FOLDERS = ("ast3ctl", "ast3d", "photometry", "protectd", "skysim", "conf", "systemd-units")
_OLD_SECONDS = 86400.0


def installed() -> Path:
    """The folder that, bound to `INSIDE`, is the venv with the suite of now."""
    shelf = CHECKOUT / "build" / "machine"
    shelf.mkdir(parents=True, exist_ok=True)
    with (shelf / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        needed = _requirements()
        version = subprocess.run([_PYTHON, "--version"], capture_output=True, text=True, check=True).stdout
        base = shelf / f"needs-{_digest([version, *needed])}"
        if not (base / ".ready").exists():
            shutil.rmtree(base, ignore_errors=True)
            base.mkdir()
            _fetch(base, needed)
            (base / ".ready").touch()
        suite = shelf / f"suite-{_digest([base.name, *_texts()])}"
        if not (suite / ".whole").exists():
            _forget_old(shelf)
            shutil.rmtree(suite, ignore_errors=True)
            subprocess.run(["cp", "-al", base, suite], check=True)
            _add_suite(suite)
            (suite / ".whole").touch()
        os.utime(suite)
        return suite


def _fetch(folder: Path, needed: list[str]) -> None:
    with Machine() as machine:
        binds = {folder: INSIDE}
        machine.prepare(_PYTHON, "-m", "venv", INSIDE, binds=binds)
        machine.prepare(INSIDE / "bin" / "pip", "install", "-q", "wheel", *needed, seconds=1200.0, binds=binds)


def _add_suite(folder: Path) -> None:
    with Machine() as machine:
        there = machine.root / SOURCES.relative_to("/")
        there.mkdir(parents=True)
        for name in _FILES:
            shutil.copy(CHECKOUT / name, there)
        for name in _FOLDERS:
            if (CHECKOUT / name).is_dir():
                shutil.copytree(CHECKOUT / name, there / name, ignore=shutil.ignore_patterns("__pycache__"))
        pip = (INSIDE / "bin" / "pip", "install", "-q", "--no-deps", "--no-build-isolation")
        machine.prepare(*pip, SOURCES, binds={folder: INSIDE})


def _requirements() -> list[str]:
    config = configparser.ConfigParser()
    config.read(CHECKOUT / "setup.cfg")
    return config["options"]["install_requires"].split("\n")[1:]


def _texts() -> list[str]:
    """Everything that is installed."""
    paths = [CHECKOUT / name for name in _FILES]
    for name in _FOLDERS:
        paths += sorted(p for p in (CHECKOUT / name).rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return [f"{path.relative_to(CHECKOUT)}\n{path.read_text()}" for path in paths]


def _digest(texts: list[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def _forget_old(shelf: Path) -> None:
    for folder in shelf.glob("suite-*"):
        if time.time() - folder.stat().st_mtime > _OLD_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
