"""Which task an operator means, and what is known of each: from the daemon if it runs, and from the disk.

TASK is a frame-id or the beginning of one that no other task shares.
"""

from dataclasses import dataclass
from typing import Any

from ast3ctl import disk
from ast3ctl.disk import Finished
from ast3ctl.problem import WRONG_CALL, ProblemError
from ast3d.common.control_client import ControlError, RefusedError, call
from ast3d.common.layout import Layout

_LISTED = 8


@dataclass(frozen=True)
class Known:
    """A task by its full frame-id; `live` is the daemon's row for it, `finished` what the disk has."""

    task: str
    live: dict[str, Any] | None
    finished: Finished | None


def live(layout: Layout) -> list[dict[str, Any]]:
    """The daemon's rows; ControlError if it has none to give."""
    return [row for row in call(layout.control_socket, "tasks") if row.get("state")]


def discarded_row(finished: Finished) -> dict[str, Any]:
    """A quarantined task in the shape of the daemon's rows."""
    facts = finished.facts()
    attempts = facts.get("attempts")
    return {
        "task": finished.task,
        "telescope": finished.telescope,
        "name": facts.get("name", ""),
        "state": "DISCARDED",
        "attempt": len(attempts) if isinstance(attempts, list) else 0,
        "size": facts.get("size"),
        "seconds": None,
        "reason": facts.get("reason", f"{disk.WHY} cannot be read"),
    }


def find(layout: Layout, prefix: str, *, also_published: bool) -> Known:
    """The one task that is meant; ProblemError (2) for none and for several."""
    try:
        rows = {row["task"]: row for row in live(layout) if row["task"] and row["task"].startswith(prefix)}
    except RefusedError as error:
        raise ProblemError(str(error)) from error
    except ControlError:  # the disk answers for those that are over
        rows = {}
    over = {f.task: f for f in disk.quarantined(layout) if f.task.startswith(prefix)}
    if also_published:
        over = {f.task: f for f in disk.published(layout, prefix)} | over
    names = sorted(rows | over)
    if prefix in names:
        names = [prefix]
    if not names:
        raise ProblemError(f"no task {prefix!a}; `ast3ctl tasks` lists those at work and in quarantine", WRONG_CALL)
    if len(names) > 1:
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        shown = ", ".join(names[:_LISTED])
        raise ProblemError(f"{prefix!a} may be any of {shown}{more}; say more of the name", WRONG_CALL)
    return Known(names[0], rows.get(names[0]), over.get(names[0]))
