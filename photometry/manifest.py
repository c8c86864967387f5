"""The manifest: what was published, and that it is all there.

Guarantee: when `write_manifest` returns, every file of the folder and the manifest that lists them are on the disk; the
manifest appears whole or not at all.  A file that is changed later does not have the sha256 that stands here.
"""

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

from photometry.errors import EnvironmentFailedError

NAME = "manifest.json"
_CHUNK = 1 << 20


def write_manifest(folder: Path, facts: dict[str, Any]) -> Path:
    """Write FOLDER/manifest.json: the facts, and `files`: {relative name: {sha256, bytes}}, links left out; durable.

    EnvironmentFailedError: no space, an I/O error.
    """
    try:
        files = {name: _digest(folder / name) for name in _names(folder)}
        text = json.dumps(plain({**facts, "files": files}), indent=1, sort_keys=False, allow_nan=False)
        path = folder / NAME
        temporary = folder / f".{NAME}.tmp"
        with temporary.open("w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        for directory in sorted({(folder / name).parent for name in files} | {folder}):
            _sync_folder(directory)
    except OSError as error:
        raise EnvironmentFailedError(f"cannot write the manifest: {error.strerror or error}") from error
    return path


def plain(value: Any) -> Any:
    """The value as JSON can hold it: numpy scalars as Python's, NaN and infinity as null, tuples as lists."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _names(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and path not in {folder / NAME, folder / f".{NAME}.tmp"}
    )


def _digest(path: Path) -> dict[str, Any]:
    """sha256 and size of what is on the disk: synced through the same descriptor that is read."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        os.fsync(file.fileno())
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"sha256": digest.hexdigest(), "bytes": size}


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
