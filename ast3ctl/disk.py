"""What the disk says of tasks that have left the daemon: published and quarantined ones.

It needs no daemon.  A file that is missing or damaged is said to be so; nothing here raises for it.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ast3d.common.layout import Layout

MANIFEST = "manifest.json"
WHY = "why.json"
ORDER = "order.json"  # what the last attempt at a discarded frame was given
_MOST_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Finished:
    """A task that is over: DONE with its products in `folder`, or DISCARDED with its frame there."""

    task: str
    state: str
    telescope: str
    folder: Path

    def facts(self) -> dict[str, Any]:
        """Its manifest.json or why.json; empty if that cannot be read."""
        return _facts(self.folder / (MANIFEST if self.state == "DONE" else WHY))


def quarantined(layout: Layout) -> Iterator[Finished]:
    """Every discarded frame."""
    for telescope in _folders(layout.quarantine):
        for folder in _folders(telescope):
            if (folder / WHY).exists():
                yield Finished(folder.name, "DISCARDED", telescope.name, folder)


def published(layout: Layout, prefix: str) -> Iterator[Finished]:
    """Every published frame whose frame-id starts with `prefix`."""
    for telescope in _folders(layout.products):
        for night in _folders(telescope):
            for folder in _folders(night, prefix):
                if (folder / MANIFEST).exists():
                    yield Finished(folder.name, "DONE", telescope.name, folder)


def archived(layout: Layout, telescope: str, night: str, task: str) -> Path | None:
    """The raw frame of a published task."""
    try:
        names = sorted(os.listdir(layout.archive / telescope / night))
    except (OSError, ValueError):  # a damaged manifest's night may not even be a name
        return None
    found = [name for name in names if name == task or name.startswith(task + ".")]
    return layout.archive / telescope / night / found[0] if found else None


def _folders(path: Path, prefix: str = "") -> list[Path]:
    try:
        with os.scandir(path) as entries:
            names = [e.name for e in entries if e.name.startswith(prefix) and not e.name.startswith(".") and e.is_dir()]
    except OSError:
        return []
    return [path / name for name in sorted(names)]


def _facts(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            facts = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}
