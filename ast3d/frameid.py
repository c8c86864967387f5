"""The name by which a frame is known for ever: from its own name and bytes, never from a clock."""

import os
import re
from hashlib import sha256

from ast3d.task import Entry

EDGE_BYTES = 64 * 1024
STEM_LENGTH = 64
UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]", re.ASCII)
FITS_SUFFIX = re.compile(r"\.(fits?|fts)(\.(gz|fz))?$", re.IGNORECASE)


def frame_id(entry: Entry, fd: int | None) -> str:
    """A safe stem and 12 hex digits of sha256(telescope, name, size, first and last 64 KiB).

    `fd` is None for what cannot be read: FIFOs, devices, links.
    """
    digest = sha256()
    telescope, name = entry.place.telescope, entry.place.name
    for part in (telescope.encode(), name.encode("utf-8", "surrogateescape"), str(entry.size).encode()):
        digest.update(len(part).to_bytes(8, "big") + part)
    if fd is not None:
        digest.update(os.pread(fd, EDGE_BYTES, 0))
        digest.update(os.pread(fd, EDGE_BYTES, max(entry.size - EDGE_BYTES, 0)))
    return f"{safe_stem(name)}-{digest.hexdigest()[:12]}"


def safe_stem(name: str) -> str:
    """The name without its FITS suffix, with letters, digits, `_`, `+` and inner dots and dashes only."""
    stem = UNSAFE.sub("_", FITS_SUFFIX.sub("", name))
    return stem.lstrip(".-")[:STEM_LENGTH] or "frame"


def suffix(name: str) -> str:
    """What the archived frame is called behind its id: `.fits.fz`, or nothing where the name has no FITS suffix."""
    found = FITS_SUFFIX.search(name)
    return found.group(0).lower() if found else ""
