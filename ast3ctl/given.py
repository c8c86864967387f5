"""What the attempt at a finished task was given: from the order.json of a discarded frame, the manifest of a published one.

What is needed and is not in these files is a ProblemError that names the file and what is wrong with it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ast3ctl.disk import MANIFEST, ORDER, Finished, archived
from ast3ctl.fields import Fields
from ast3ctl.problem import WRONG_CALL, ProblemError
from ast3d.common.files import unescape
from ast3d.common.layout import Layout

ASSETS = {"template": "template", "instrument": "instrument file", "masters": "calibration", "catalog": "star catalog"}


@dataclass(frozen=True)
class Asset:
    """A file that the attempt worked with, and what tells it from a later one: its checksum, or size and time.

    Empty or 0: unknown.  `kind` is one of ASSETS; the file of a calibration is the manifest of its masters.
    """

    kind: str
    path: Path
    sha256: str = ""
    bytes: int = 0
    mtime_ns: int = 0

    def is_as_it_was(self, sha256: Callable[[Path], str]) -> bool | None:
        """None: nobody knows.  OSError."""
        if self.sha256:
            return self.sha256 == sha256(self.path)
        found = self.path.stat()
        return (found.st_size, found.st_mtime_ns) == (self.bytes, self.mtime_ns) if self.mtime_ns else None


@dataclass(frozen=True)
class Given:
    """One attempt.

    `frame` is where the frame is now, `name` what it was called; `frame_then` and `out_then` are the paths that the attempt
    knew, or empty; `reason` why it failed, empty where it did not.  `command` is empty for photometry.  `instrument` is a
    name of conf/instruments, or empty; `site` longitude, latitude and height, or empty; `frame_sha256` empty where nobody
    took it.
    """

    task: str
    attempt: int
    telescope: str
    frame: Path
    name: str
    frame_sha256: str
    command: list[str]
    photometry: dict[str, Any]
    versions: dict[str, str]
    assets: list[Asset] = field(default_factory=list)
    instrument: str = ""
    site: list[float] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    frame_then: str = ""
    out_then: str = ""
    reason: str = ""
    where: str = ""


def given(layout: Layout, finished: Finished) -> Given:
    """What the last attempt at it was given."""
    return _published(layout, finished) if finished.state == "DONE" else _discarded(finished)


def _discarded(finished: Finished) -> Given:
    folder, task = finished.folder, finished.task
    reason = _reason(finished)
    order = Fields(folder / ORDER)
    frames = [name for name in sorted(os.listdir(folder)) if f"{name}.".startswith(f"{task}.") and not name.endswith(".out")]
    if not frames:
        raise ProblemError(f"the frame is not in {folder} any more")
    return Given(
        task=task,
        attempt=order.get("attempt", int),
        telescope=order.get("telescope", str),
        frame=folder / frames[0],
        name=order.file_name("name", order.get("name", str)),
        frame_sha256=order.optional("frame.sha256", str) or "",
        command=order.words("command"),
        photometry=order.get("photometry", dict),
        versions=order.get("versions", dict),
        assets=_assets(order),
        instrument=_instrument(order),
        site=_site(order),
        environment=order.variables("environment"),
        frame_then=order.get("frame.path", str),
        out_then=order.get("out", str),
        reason=reason,
        where=f"on {order.get('host', str)}, {order.get('began', str)}",
    )


def _reason(finished: Finished) -> str:
    """Why its last attempt failed; empty where why.json does not say."""
    why = finished.facts()
    attempts = why.get("attempts")
    if why and not attempts:
        raise ProblemError(
            f"{finished.task} was refused without an attempt: {why.get('reason', 'no reason given')}", WRONG_CALL
        )
    last = attempts[-1] if isinstance(attempts, list) else None
    return str(last.get("reason", "")) if isinstance(last, dict) else ""


def _published(layout: Layout, finished: Finished) -> Given:
    manifest = Fields(finished.folder / MANIFEST)
    frame = archived(layout, finished.telescope, manifest.get("night", str), finished.task)
    if frame is None:
        raise ProblemError(f"the raw frame of {finished.task} is not in the archive")
    return Given(
        task=finished.task,
        attempt=manifest.get("attempt", int),
        telescope=finished.telescope,
        frame=frame,
        name=manifest.file_name("name", unescape(manifest.get("name", str))),
        frame_sha256=manifest.get("frame.sha256", str),
        command=[] if manifest.says("pipeline", "photometry") else manifest.words("pipeline"),
        photometry=manifest.get("configuration.photometry", dict),
        versions=manifest.get("versions", dict),
        assets=_assets(manifest),
        instrument=_instrument(manifest),
        site=_site(manifest),
        where=f"published {manifest.get('published', str)}",
    )


def _assets(facts: Fields) -> list[Asset]:
    """Those that there were; none where a program did the work."""
    found = []
    for kind in ASSETS:
        where = f"assets.{kind}"
        if _had(facts, kind) and facts.optional(f"{where}.name", str) is None:
            path, digest = Path(facts.get(f"{where}.path", str)), facts.optional(f"{where}.sha256", str) or ""
            size, time = (facts.optional(f"{where}.{name}", int) or 0 for name in ("bytes", "mtime_ns"))
            found.append(Asset(kind, path, digest, size, time))
    return found


def _instrument(facts: Fields) -> str:
    return (facts.optional("assets.instrument.name", str) or "") if _had(facts, "instrument") else ""


def _site(facts: Fields) -> list[float]:
    names = ("longitude", "latitude", "height")
    return [facts.get(f"assets.site.{name}", float) for name in names] if _had(facts, "site") else []


def _had(facts: Fields, kind: str) -> bool:
    return facts.optional(f"assets.{kind}", dict) is not None


def differences(was: Given, frame_sha256: str, now: dict[str, str], sha256: Callable[[Path], str]) -> list[str]:
    """What is not as it was for the attempt, one sentence each."""
    found = []
    if not was.frame_sha256:
        found.append("nobody knows the checksum that the frame had then")
    elif was.frame_sha256 != frame_sha256:
        found.append(f"the frame is not the one of the attempt any more: {was.frame}")
    for asset in was.assets:
        what, same = ASSETS[asset.kind], asset.is_as_it_was(sha256)
        if same is None:
            found.append(f"nobody knows the checksum that the {what} {asset.path} had then")
        elif not same:
            found.append(f"the {what} is not the one of the attempt any more: {asset.path}")
    for name in sorted(was.versions.keys() | now.keys()):
        then, today = was.versions.get(name, "unknown"), now.get(name, "unknown")
        if then != today:
            found.append(f"{name} was {then} then and is {today} now")
    return found
