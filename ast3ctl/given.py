"""What the attempt at a finished task was given: from the order.json of a discarded frame, the manifest of a published one.

The files are read as they are found; what is needed and is not in them is a ProblemError of one line.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ast3ctl.disk import ORDER, Finished, archived
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
    facts = finished.facts()
    try:
        was = _published(layout, finished, facts) if finished.state == "DONE" else _discarded(finished, facts)
        if was.name in {"", ".", ".."} or {"/", "\0"} & set(was.name):
            raise ValueError(was.name)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProblemError(f"what {finished.folder} says of the attempt is damaged or incomplete: {error!r}") from error
    return was


def _discarded(finished: Finished, why: dict[str, Any]) -> Given:
    folder, task = finished.folder, finished.task
    attempts = why.get("attempts")
    if why and not attempts:
        raise ProblemError(f"{task} was refused without an attempt: {why.get('reason', 'no reason given')}", WRONG_CALL)
    try:
        order = json.loads((folder / ORDER).read_bytes())
    except OSError as error:
        raise ProblemError(f"{folder / ORDER}, what the attempt was given, cannot be read: {error.strerror}") from error
    frames = [name for name in sorted(os.listdir(folder)) if f"{name}.".startswith(f"{task}.") and not name.endswith(".out")]
    if not frames:
        raise ProblemError(f"the frame is not in {folder} any more")
    template = order["template"]
    return Given(
        task=task,
        attempt=order["attempt"],
        telescope=order["telescope"],
        frame=folder / frames[0],
        name=order["name"],
        frame_sha256=order["frame"]["sha256"] or "",
        command=_words(order["command"]),
        photometry=dict(order["photometry"]),
        template=Path(template["path"]) if template else None,
        template_sha256=(template["sha256"] or "") if template else "",
        versions=dict(order["versions"]),
        environment={str(key): str(value) for key, value in order["environment"].items()},
        frame_then=order["frame"]["path"],
        out_then=order["out"],
        reason=str(attempts[-1]["reason"]) if attempts else "",
        where=f"on {order['host']}, {order['began']}",
    )


def _published(layout: Layout, finished: Finished, facts: dict[str, Any]) -> Given:
    frame = archived(layout, finished.telescope, str(facts["night"]), finished.task)
    if frame is None:
        raise ProblemError(f"the raw frame of {finished.task} is not in the archive")
    pipeline, template = facts["pipeline"], facts.get("template")
    return Given(
        task=finished.task,
        attempt=facts["attempt"],
        telescope=finished.telescope,
        frame=frame,
        name=unescape(facts["name"]),
        frame_sha256=facts["frame"]["sha256"],
        command=[] if pipeline == "photometry" else _words(pipeline),
        photometry=dict(facts["configuration"]["photometry"]),
        template=layout.templates / finished.telescope / template if template else None,
        template_sha256="",
        versions=dict(facts["versions"]),
        where=f"published {facts['published']}",
    )


def _words(command: Any) -> list[str]:
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        raise TypeError("the command is no list of words")
    return command


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
