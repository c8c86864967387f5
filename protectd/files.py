"""The small files of the run folder.  Each is replaced whole; one that is absent or damaged is as none.

They are not synced, and what they say is of one boot: those that could mislead in another name theirs.
"""

import contextlib
import fcntl
import json
import os
import struct
from pathlib import Path
from typing import Any

_FLOCK = "hhqqi"  # struct flock of 64-bit Linux: type, whence, start, length, pid


def replace(path: Path, value: Any) -> None:
    """Write the value as JSON in the place of what is there; OSError, which names `path`, leaves the old one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            os.write(fd, json.dumps(value).encode() + b"\n")
            temporary.replace(path)
        finally:
            os.close(fd)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OSError(error.errno, error.strerror, str(path)) from error


def read(path: Path) -> dict[str, Any]:
    """The JSON object that is there; an empty one where there is none that can be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return {}
    try:
        value = json.loads(os.read(fd, 65536))
    except (OSError, ValueError, RecursionError):
        return {}
    finally:
        os.close(fd)
    return value if isinstance(value, dict) else {}


def read_facts(run: Path, root: Path | None) -> dict[str, Any]:
    """What ast3d has written down for who starts it again; nothing where it speaks of another node, as in a copied one."""
    told = read(run / "ast3d.json")
    return told if told.get("root") == whole(root) else {}


def whole(root: Path | None) -> str | None:
    """One name for a root, whichever way leads there; None for the site's."""
    return os.path.realpath(root) if root is not None else None


def is_stopped(run: Path, boot: str) -> bool:
    """Whether there is the marker of a stop on purpose.  One that names another boot says nothing of this one."""
    marker = run / "stopped"
    return os.path.lexists(marker) and read(marker).get("boot", boot) == boot


def holder(lock: Path) -> int | None:
    """The pid that holds the record lock on a file, as the kernel says; None where nobody does.  It is not taken for that.

    Not for a lock of this process's own: closing any descriptor of such a file would let go of it.
    """
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        return None
    try:
        # Whoever may only read the file may ask for no more than a read lock; the holder's write lock stands in its way.
        asked = struct.pack(_FLOCK, fcntl.F_RDLCK, os.SEEK_SET, 0, 0, 0)
        kind, _whence, _start, _length, pid = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    except OSError:
        return None
    finally:
        os.close(fd)
    return int(pid) if kind != fcntl.F_UNLCK and pid > 0 else None
