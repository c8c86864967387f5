"""What ast3d does once: make its folders, leave the terminal, make a policy of its configuration."""

import ctypes
import json
import os
from hashlib import sha256
from pathlib import Path

from ast3d.common.about import VERSION
from ast3d.common.config import Config
from ast3d.common.files import move_by_link
from ast3d.common.layout import Layout
from ast3d.policy import Policy

MALLOC_BYTES = 64 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def fingerprint_of(config: Config) -> str:
    """Of the code, and of all that the configuration tells the work: a frame that failed may do better under another."""
    told = [
        VERSION,
        config.photometry.as_dict(),
        config.pipeline.command,
        {n: t.as_dict() for n, t in config.telescopes.items()},
    ]
    return sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def policy_of(config: Config) -> Policy:
    """What decisions need of the configuration, on this node."""
    worker, pool = config.worker, config.pool
    cores = len(os.sched_getaffinity(0))
    return Policy(
        slots=cores if worker.slots == "auto" else int(worker.slots),
        settle_seconds=pool.settle_seconds,
        incomplete_seconds=pool.incomplete_seconds,
        soft_seconds=worker.soft_seconds,
        hard_seconds=worker.hard_seconds,
        silence_seconds=0.0 if config.pipeline.command else worker.silence_seconds,  # a program cannot tell of progress
        attempts=worker.attempts,
        backoff_seconds=worker.backoff_seconds,
        backoff_limit_seconds=worker.backoff_limit_seconds,
        fingerprint=fingerprint_of(config),
    )


def make_folders(layout: Layout) -> list[str]:
    """Create the folders that are missing; -> what is wrong with them although ast3d can work, a sentence each.

    A file that has the name of a folder that is ast3d's alone is moved aside: nobody may be there to do it.  A link is not:
    it may lead to a disk that is not there yet.  Raises OSError where ast3d cannot work: see `in_words`.
    """
    said = []
    for folder in layout.own:
        if os.path.lexists(folder) and not folder.is_symlink() and not folder.is_dir():
            aside = folder.with_name(f"{folder.name}.aside-{os.urandom(4).hex()}")
            try:
                move_by_link(folder, aside)  # which moves no folder, should another ast3d just have made it
            except OSError:
                continue  # where it matters, `make` says what is wrong
            said.append(f"{folder} was a file, and must be a folder: the file is {aside} now")
    layout.make()
    try:
        layout.log.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        said.append(f"{in_words(error)}; until there is a folder, no log is written")
    return said


def in_words(error: OSError) -> str:
    """What keeps ast3d from starting, and what to do; in one line."""
    if not isinstance(error.filename, str):
        return str(error)
    if isinstance(error, IsADirectoryError):
        return f"{error.filename} is a folder, and must be a file: move it away"
    if isinstance(error, FileExistsError | NotADirectoryError):
        for path in (Path(error.filename), *Path(error.filename).parents):
            if path.is_symlink() and not path.is_dir():
                return f"{path} is a link that leads to no folder, and must be a folder: correct or remove it"
            if path.exists() and not path.is_dir():
                return f"{path} is a file, and must be a folder: move it away"
    return f"{error.filename}: {error.strerror}; give a --root that can be written"


def give_memory_back() -> None:
    """What is freed goes back to the kernel: by itself glibc keeps ever more, the larger the pieces are that come and go."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, MALLOC_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, MALLOC_BYTES)
