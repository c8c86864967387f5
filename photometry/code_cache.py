"""Compiled code that is kept from one process to the next, in $NUMBA_CACHE_DIR or below the user's cache folder.

Guarantees: what is read is what was written, whole; a file that is missing or damaged is as none.  A folder that cannot be
written keeps nothing, which costs a compilation each time and is no error.
"""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

_DIGEST_BYTES = 32


def place_of(stem: str, suffix: str, made_from: bytes) -> Path:
    """Where code is kept: a file for each version of all that it is made from."""
    user = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or f"{user}/ast3").expanduser()
    return folder / f"{stem}-{hashlib.sha256(made_from).hexdigest()[:32]}{suffix}"


def read(file: Path) -> bytes | None:
    """The code in a file that begins with its digest: what runs it would not survive a damaged one."""
    try:
        kept = file.read_bytes()
    except OSError:
        return None
    digest, code = kept[:_DIGEST_BYTES], kept[_DIGEST_BYTES:]
    return code if hashlib.sha256(code).digest() == digest else None


def write(file: Path, code: bytes) -> None:
    """Such a file, at once and whole, or not at all."""
    new = file.with_name(f"{file.name}.{os.getpid()}")
    with suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            new.write_bytes(hashlib.sha256(code).digest() + code)
            new.replace(file)
        finally:
            new.unlink(missing_ok=True)
