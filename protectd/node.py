"""What protectd knows of the node: where the run folder is, how ast3d is started, which lock it holds, where logs go.

ast3d writes it down (`RUN/ast3d.json`); where that is missing or damaged, the command line of protectd itself must do.
"""

import sys
from pathlib import Path
from typing import NamedTuple

from ast3d.common.run import SITE_RUN
from protectd import files
from protectd.message import DEFAULT, Settings, read_settings

SITE_STATE = Path("/var/lib/ast3/state")
SITE_LOG = Path("/var/log/ast3")


class Node(NamedTuple):
    """One node; `root` and `config` as on the command line."""

    root: Path | None = None
    config: Path | None = None

    @property
    def run(self) -> Path:
        """Where sockets, locks and small files lie."""
        return self.root / "run" if self.root else SITE_RUN

    def argv(self) -> list[str]:
        """How to start ast3d in the foreground."""
        told = files.read_facts(self.run, self.root).get("argv")
        if isinstance(told, list) and told and all(isinstance(word, str) and "\0" not in word for word in told):
            return told
        where = ["--root", str(self.root)] if self.root else []
        where += ["--config", str(self.config)] if self.config else []
        return [sys.executable, "-P", "-m", "ast3d", *where, "--foreground", "--again"]

    def locks(self) -> list[Path]:
        """The files of which an ast3d holds one: that of the one ast3d, or that of one which only begins."""
        told = self._told("lock")
        return [told or (self.root / "state" if self.root else SITE_STATE) / "ast3d.lock", self.run / "ast3d.begin"]

    def settings(self) -> Settings:
        """How the last ast3d wanted to be guarded; until this one says how."""
        try:
            return read_settings(files.read_facts(self.run, self.root).get("protect")) or DEFAULT
        except (ValueError, TypeError, KeyError):
            return DEFAULT

    def log_file(self) -> Path:
        """The log of protectd, beside that of ast3d."""
        told = self._told("log")
        if told:
            return (told.parent if told.suffix == ".log" else told) / "protectd.log"
        return (self.root / "log" if self.root else SITE_LOG) / "protectd.log"

    def _told(self, name: str) -> Path | None:
        told = files.read_facts(self.run, self.root).get(name)
        return Path(told) if isinstance(told, str) and told.startswith("/") and "\0" not in told else None
