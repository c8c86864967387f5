"""A quarantine folder: the frame, why.json, what the attempts said and the last one was given.  Who reads and clears it."""

import contextlib
import json
from pathlib import Path
from typing import Any

from ast3d import bundle
from ast3d.common.files import escape, remove, sync_dir, unescape

WHY = "why.json"


def is_attempt(path: Path, task: str) -> bool:
    """Whether a file is TASK.N.SUFFIX and not that of a task with a longer name."""
    return path.stem.removeprefix(task + ".").isdecimal()


def told(path: Path) -> dict[str, Any]:
    """A why.json that says where its frame came from; OSError or ValueError, either of which names the file."""
    try:
        why = json.loads(path.read_bytes())
        names = [unescape(why["name"]), why["telescope"]]
        whole = not any(name in {"", ".", ".."} or {"/", "\0"} & set(name) for name in names)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise ValueError(f"{escape(str(path))} is damaged; move the frame that lies beside it into its pool by hand")
    return dict(why)


def tried_otherwise(path: Path, fingerprint: str) -> bool:
    """Whether a why.json tells of attempts at a whole frame under another fingerprint."""
    try:
        why = told(path)
        return bool(why["attempts"]) and not why["incomplete"] and why.get("fingerprint") != fingerprint
    except (OSError, ValueError, KeyError):
        return False


def clear(folder: Path) -> None:
    """Remove a quarantine folder that holds no frame any more; with a frame in it, nothing is removed."""
    task = folder.name
    own = [
        path
        for path in folder.iterdir()
        if path.name in (WHY, bundle.NAME) or (path.suffix == ".out" and is_attempt(path, task))
    ]
    if len(own) < len(list(folder.iterdir())):
        return
    for path in own:
        remove(path)
    with contextlib.suppress(OSError):
        folder.rmdir()
        sync_dir(folder.parent)
