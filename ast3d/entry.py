"""What lies under a name in a pool, and whether its products stand; follows no link and waits for nothing."""

import contextlib
import os
import stat
from pathlib import Path

from ast3d.common.files import sync_up
from ast3d.fitshead import bytes_promised
from ast3d.frameid import frame_id
from ast3d.task import Entry, FileKind

SIDECAR = ".done"  # NAME.done says that NAME is whole


def published(products: Path, task: str) -> str:
    """The night under which the products of a frame of one telescope stand, durably, or an empty string.

    Who published them may have been killed before they were: nobody may rely on what a power cut can take away.
    """
    try:
        for night in sorted(os.listdir(products)):
            _ask_anew(products / night)
            if (products / night / task / "manifest.json").exists():
                sync_up(products / night, products.parent)
                return night
    except OSError:
        return ""
    return ""


def _ask_anew(folder: Path) -> None:
    """Over NFS what another node has published may be cached as absent; to open the folder has the server asked."""
    with contextlib.suppress(OSError):
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def kind_of(mode: int) -> FileKind | None:
    """None for folders: they are not frames, and not refused either."""
    if stat.S_ISREG(mode):
        return "regular"
    if stat.S_ISDIR(mode):
        return None
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISFIFO(mode):
        return "fifo"
    return "socket" if stat.S_ISSOCK(mode) else "device"


def open_regular(path: Path) -> int | None:
    """A descriptor of a regular file that can be read, or None.  Never follows a link, never waits for a FIFO's writer."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def promised(fd: int) -> int:
    """`bytes_promised`, or 0 where the disk does not let itself be read."""
    try:
        return bytes_promised(fd)
    except OSError:
        return 0


def identify(path: Path, entry: Entry) -> str:
    """The frame-id; from the name and size alone where the content cannot be read."""
    fd = open_regular(path)
    if fd is None:
        return frame_id(entry, None)
    try:
        return frame_id(entry, fd)
    except OSError:
        return frame_id(entry, None)
    finally:
        os.close(fd)
