"""Disks whose power can be cut at any instant, while everything goes on: loop ext4 and xfs, copied by reflink.

How a copy is one instant and not a smear: the images lie on an xfs of their own with reflink=1, and a cut is one FICLONE of
the whole image.  The kernel holds the image's inode lock exclusively for the whole of it, so each write that the loop device
makes is before it or after it; nothing is stopped, frozen or flushed inside the disk that is cut.

What the copy holds is what the file system had sent to its device by then: a disk that keeps each write that reached it, in
the order in which they came.  What was only in the page cache, because nobody asked for fsync, is lost.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KINDS = {"ext4": 96, "xfs": 320}  # megabytes; xfs cannot be smaller than 300
SHELF_MEGABYTES = 12_000  # sparse
MOUNT = {"ext4": "loop", "xfs": "loop,nouuid"}  # a copy has the UUID of its origin


class NoDisksError(Exception):
    """Here no disk can be made whose power can be cut; the text says why."""


def run(*argv: str | Path) -> None:
    """A program that must succeed; its words are the error's."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"{' '.join(map(str, argv))}: {done.stderr.strip()}")


@contextmanager
def mounted(image: Path, kind: str) -> Iterator[Path]:
    """The folder in which the image is mounted, beside it; the file system replays its journal."""
    folder = image.with_name(image.name + ".mnt")
    folder.mkdir(exist_ok=True)
    run("mount", "-o", MOUNT[kind], image, folder)
    try:
        yield folder
    finally:
        run("umount", folder)
        folder.rmdir()


@contextmanager
def shelf(folder: Path) -> Iterator[Path]:
    """A folder on an xfs with reflink=1, on which the images of disks lie.  Raises NoDisksError."""
    missing = [name for name in ("mkfs.ext4", "mkfs.xfs", "mount") if not shutil.which(name)]
    if os.geteuid() != 0 or missing:
        raise NoDisksError(f"needs root and {', '.join(missing) or 'its rights'} to mount disks of its own")
    image, place = folder / "shelf.img", folder / "shelf"
    place.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(SHELF_MEGABYTES << 20)
    try:
        run("mkfs.xfs", "-q", "-m", "reflink=1", image)
        run("mount", "-o", "loop,discard", image, place)
    except OSError as error:
        image.unlink()
        raise NoDisksError(str(error)) from error
    try:
        yield place
    finally:
        with suppress(OSError):  # what a failed test still holds is let go with its last process
            run("umount", place)
        image.unlink()


def make(place: Path, kind: str) -> Path:
    """A fresh disk; -> its image."""
    image = place / f"{kind}.img"
    with image.open("wb") as file:
        file.truncate(KINDS[kind] << 20)
    run(f"mkfs.{kind}", *(["-q", "-F"] if kind == "ext4" else ["-q", "-f"]), image)
    return image


def cut(image: Path, name: str) -> Path:
    """The disk as it would be had the power failed now; -> the image of the copy."""
    copy = image.with_name(name)
    run("cp", "--reflink=always", image, copy)
    return copy
