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


@dataclass(frozen=True)
class Given:
    """One attempt.

    `frame` is where the frame is now, `name` what it was called; `frame_then` and `out_then` are the paths that the attempt
    knew, or empty; `reason` why it failed, empty where it did not.  `command` is empty for photometry.  Checksums are empty
    where nobody took them.
    """

    task: str
    attempt: int
    telescope: str
    frame: Path
    name: str
    frame_sha256: str
    command: list[str]
    photometry: dict[str, Any]
    template: Path | None
    template_sha256: str
    versions: dict[str, str]
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
    template = Path(order.get("template.path", str)) if order.optional("template", dict) is not None else None
    return Given(
        task=task,
        attempt=order.get("attempt", int),
        telescope=order.get("telescope", str),
        frame=folder / frames[0],
        name=order.file_name("name", order.get("name", str)),
        frame_sha256=order.optional("frame.sha256", str) or "",
        command=order.words("command"),
        photometry=order.get("photometry", dict),
        template=template,
        template_sha256=(order.optional("template.sha256", str) or "") if template else "",
        versions=order.get("versions", dict),
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
    template = manifest.optional("template", str)
    return Given(
        task=finished.task,
        attempt=manifest.get("attempt", int),
        telescope=finished.telescope,
        frame=frame,
        name=manifest.file_name("name", unescape(manifest.get("name", str))),
        frame_sha256=manifest.get("frame.sha256", str),
        command=[] if manifest.says("pipeline", "photometry") else manifest.words("pipeline"),
        photometry=manifest.get("configuration.photometry", dict),
        template=layout.templates / finished.telescope / template if template else None,
        template_sha256="",
        versions=manifest.get("versions", dict),
        where=f"published {manifest.get('published', str)}",
    )


def differences(was: Given, frame_sha256: str, now: dict[str, str], sha256: Callable[[Path], str]) -> list[str]:
    """What is not as it was for the attempt, one sentence each."""
    found = []
    if not was.frame_sha256:
        found.append("nobody knows the checksum that the frame had then")
    elif was.frame_sha256 != frame_sha256:
        found.append(f"the frame is not the one of the attempt any more: {was.frame}")
    if was.template and not was.template_sha256:
        found.append(f"nobody knows the checksum that the template {was.template} had then")
    elif was.template and was.template_sha256 != sha256(was.template):
        found.append(f"the template is not the one of the attempt any more: {was.template}")
    for name in sorted(was.versions.keys() | now.keys()):
        then, today = was.versions.get(name, "unknown"), now.get(name, "unknown")
        if then != today:
            found.append(f"{name} was {then} then and is {today} now")
    return found
