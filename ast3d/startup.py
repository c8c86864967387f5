"""What ast3d does once: make its folders, leave the terminal, make a policy and orders of its configuration."""

import ctypes
import json
import os
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

from ast3d import effects
from ast3d.common.about import VERSION
from ast3d.common.config import Config
from ast3d.common.files import move_by_link
from ast3d.common.layout import Layout
from ast3d.common.schema import Site, Telescope
from ast3d.order import Order
from ast3d.policy import Policy

MALLOC_BYTES = 64 * 1024
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def fingerprint_of(config: Config, telescope: str | None = None) -> str:
    """Of the code, and of all that the configuration tells the work: a frame that failed may do better under another.

    Whose telescope it is, and which others there are, is nothing to the work.
    """
    known = config.telescopes.get(telescope) if telescope is not None else None
    particular = [known.template, known.instrument, known.calibration] if known else None
    told = [VERSION, config.photometry.as_dict(), config.pipeline.command, config.site.as_dict(), particular]
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
        fingerprints={name: fingerprint_of(config, name) for name in config.telescopes},
        telescopes=frozenset(config.telescopes),
        node=config.ha.node or "",
        home=frozenset(name for name, telescope in config.telescopes.items() if telescope.node == config.ha.node),
    )


def order_for(effect: effects.Start, config: Config, layout: Layout) -> dict[str, Any]:
    """What an attempt is told, as it travels."""
    place, claim = effect.entry.place, effect.claim
    telescope = config.telescopes.get(place.telescope, Telescope())
    calibrations = layout.calibrations / place.telescope
    order = Order(
        task=effect.task,
        attempt=effect.attempt,
        telescope=place.telescope,
        name=place.name,
        size=effect.entry.size,
        mtime_ns=effect.entry.mtime_ns,
        frame=str(layout.pool(place.telescope) / place.name),
        templates=str(layout.templates / place.telescope),
        template=telescope.template,
        calibrations=str(calibrations),
        products=str(layout.products),
        attempts=str(layout.state / "attempts"),
        kept=str(layout.kept),
        command=list(config.pipeline.command or ()),
        photometry=config.photometry.as_dict(),
        fingerprint=fingerprint_of(config, place.telescope),
        calibration=telescope.calibration,
        instrument=_instrument(telescope.instrument, calibrations),
        catalog=str(layout.calibrations / config.site.catalog) if config.site.catalog else None,
        site=_site(config.site),
        node=config.ha.node,
        claim={"epoch": claim.epoch, "token": claim.token, "own": claim.own} if claim else None,
    )
    return {name: told for name, told in asdict(order).items() if told is not None or name == "template"}


def _instrument(named: str | None, calibrations: Path) -> str | None:
    """A name is photometry's to look up; a file is the telescope's own."""
    return str(calibrations / named) if named and named.endswith(".yaml") else named


def _site(site: Site) -> list[float] | None:
    where = [number for number in (site.longitude, site.latitude, site.height) if number is not None]
    return where or None


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
