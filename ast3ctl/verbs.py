"""What each command does: an `Answer` for people and programs, or a `ProblemError`."""

import argparse
import shlex
from collections.abc import Callable, Iterator
from typing import Any

from ast3ctl import claims, disk, ensure, ha, power, relog, tasks
from ast3ctl.answer import Answer
from ast3ctl.problem import ProblemError
from ast3ctl.story import story
from ast3ctl.words import duration, printable, table
from ast3d.common.about import VERSION
from ast3d.common.clock import boot_id
from ast3d.common.control_client import ControlError, NoAnswerError, NotRunningError, call
from ast3d.common.layout import Layout
from protectd.files import holder, is_stopped

_SHOWN_ROWS = 50
_MOVING_SECONDS = 60.0  # a frame may be copied between disks before the daemon answers


def status(layout: Layout, options: argparse.Namespace) -> Answer:
    """How ast3d is; STOPPED (and exit code 1) where it is not running."""
    try:
        data = call(layout.control_socket, "status")
    except NotRunningError as error:
        state, problem = _not_answering(layout) or ("STOPPED", _not_running(error, layout, options))
        return _no_status(state, problem)
    except NoAnswerError as error:
        return _no_status("DEGRADED", f"ast3d gives {error}; `ast3ctl tail` shows what it did last")
    except ControlError as error:
        raise ProblemError(str(error)) from error
    return Answer(data, list(_status_lines(data)))


def _not_answering(layout: Layout) -> tuple[str, str] | None:
    """State and problem of an ast3d that is there although nobody listens."""
    if pid := holder(layout.lock):
        return "DEGRADED", f"ast3d, pid {pid}, runs and cannot be asked, for its socket is gone; see `ast3ctl tail`"
    if pid := holder(layout.run / "ast3d.begin"):
        why = f"ast3d, pid {pid}, begins, or waits before that, for its last starts failed; see `ast3ctl tail`"
        return "STARTING", f"{why}; `ast3ctl start` has it begin now"
    return None


def _no_status(state: str, problem: str) -> Answer:
    unknown = dict.fromkeys(("ready", "running", "done", "discarded"))
    data = {
        "state": state,
        "reasons": [problem],
        "pid": None,
        "tasks": unknown,
        "protect": {"pid": None, "state": "unknown"},
        "uptime_seconds": None,
        "version": VERSION,
    }
    return Answer(data, [state], problem)


def _status_lines(data: dict[str, Any]) -> Iterator[str]:
    up = duration(data.get("uptime_seconds"))
    yield printable(f"{data['state']}  pid {data.get('pid')}, up {up}, version {data.get('version')}")
    protect = data.get("protect") or {}
    who = f"protectd, pid {protect['pid']}" if protect.get("pid") else "protectd"
    yield printable(f"guard  {who}: {protect.get('state', 'unknown')}")
    yield printable("tasks  " + ", ".join(f"{count} {name}" for name, count in data["tasks"].items()))
    yield from (printable(line) for line in claims.lines(data.get("telescopes")))
    for reason in data.get("reasons", []):
        yield printable(f"why    {reason}")


def list_tasks(layout: Layout, options: argparse.Namespace) -> Answer:
    """Every frame at work, and those in quarantine."""
    problem = ""
    rows: list[dict[str, Any]] = []
    try:
        rows = tasks.live(layout)
    except NotRunningError as error:
        problem = f"{_not_running(error, layout, options)}; what is listed is in quarantine"
    except ControlError as error:
        raise ProblemError(str(error)) from error
    known = {row.get("task") for row in rows}
    rows += [tasks.discarded_row(f) for f in disk.quarantined(layout) if f.task not in known]
    return Answer(rows, _task_lines(rows), problem)


def _task_lines(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["no tasks"]
    cells = [["STATE", "ATTEMPT", "SINCE", "TASK", "REASON"]]
    for row in rows[:_SHOWN_ROWS]:
        since = duration(row["seconds"]) if row.get("seconds") is not None else "-"
        task = row.get("task") or f"({row.get('name')})"
        cells.append([printable(cell) for cell in (row["state"], row["attempt"], since, task, row.get("reason") or "")])
    more = [f"... and {len(rows) - _SHOWN_ROWS} more; --json lists all"] if len(rows) > _SHOWN_ROWS else []
    return table(cells) + more


def why(layout: Layout, options: argparse.Namespace) -> Answer:
    """What happened to a task, and what happens next."""
    known = tasks.find(layout, options.task, also_published=True)
    over = known.finished
    if over is not None and (known.live is None or known.live.get("state") in {"DONE", "DISCARDED"}):
        data = {"task": over.task, "state": over.state, "folder": str(over.folder), "story": story(layout, over)}
    else:
        data = _ask(layout, options, "why", {"task": known.task})
    sentences = [printable(sentence) for sentence in data["story"]]
    return Answer(data, [printable(f"{data['task']}  {data['state']}"), *sentences])


def retry(layout: Layout, options: argparse.Namespace) -> Answer:
    """Another try for a failed or quarantined frame, now."""
    known = tasks.find(layout, options.task, also_published=False)
    data = _ask(layout, options, "retry", {"task": known.task}, _MOVING_SECONDS)
    return Answer(data, [printable("  ".join([data["task"], data["state"], *([data["so"]] if "so" in data else [])]))])


def reproduce(layout: Layout, options: argparse.Namespace) -> Answer:
    """The last attempt at a finished frame once more, by hand."""
    from ast3ctl.reproduce import reproduce as once_more  # loads what no other verb needs

    outcome = once_more(layout, options.task, options.out)
    data = {
        "task": outcome.task,
        "products": None if outcome.reason else str(outcome.products),
        "reason": outcome.reason,
        "attempt_reason": outcome.then,
        "notes": outcome.notes,
    }
    sentence = printable(outcome.sentence)
    return Answer(data, [], sentence) if outcome.reason else Answer(data, [sentence])


def pause(layout: Layout, options: argparse.Namespace) -> Answer:
    """No new work for a while; what runs goes on."""
    data = _ask(layout, options, "pause", {"for_seconds": options.for_seconds})
    return Answer(data, [f"paused for {duration(data['for_seconds'])}; `ast3ctl resume` ends it sooner"])


def resume(layout: Layout, options: argparse.Namespace) -> Answer:
    """New work again."""
    return Answer(_ask(layout, options, "resume", {}), ["at work again"])


def acknowledge(layout: Layout, options: argparse.Namespace) -> Answer:
    """That records were lost has been seen."""
    data = _ask(layout, options, "acknowledge", {})
    return Answer(data, [printable(f"seen: {loss}") for loss in data["losses"]] or ["nothing was lost"])


def read_relog(layout: Layout, options: argparse.Namespace) -> Answer:
    """The recovery log of the node, or a copy of one: its records, or whether it is whole.  It is only read."""
    folder = options.folder or layout.relog
    named = options.folder is not None
    if options.action == "show":
        return Answer(*relog.show(folder, options.last, named=named))
    data, lines, problems = relog.verify(folder, named=named)
    return Answer(data, lines, f"{folder}: {problems} problems" if problems else "")


def ensure_up(_layout: Layout, options: argparse.Namespace) -> Answer:
    """What cron does every minute."""
    try:
        done = list(ensure.ensure(options.root, options.config, options.bin))
    except ensure.EnsureError as error:
        raise ProblemError(str(error)) from error
    return Answer({"done": done}, [printable(f"ensure: {line}") for line in done])


def _not_running(error: NotRunningError, layout: Layout, options: argparse.Namespace) -> str:
    given = [f"--{n} {shlex.quote(value)}" for n in ("root", "config") if (value := getattr(options, n)) is not None]
    if is_stopped(layout.run, boot_id()):
        return f"ast3d was stopped on purpose; start it with `{' '.join(['ast3ctl', *given, 'start'])}`"
    return f"ast3d is {error}; start it with `{' '.join(['ast3d', *given])}`"


def _ask(layout: Layout, options: argparse.Namespace, verb: str, args: dict[str, Any], timeout_seconds: float = 5.0) -> Any:
    try:
        return call(layout.control_socket, verb, args, timeout_seconds)
    except NotRunningError as error:
        raise ProblemError(_not_running(error, layout, options)) from error
    except ControlError as error:
        raise ProblemError(str(error)) from error


VERBS: dict[str, Callable[[Layout, argparse.Namespace], Answer]] = {
    "status": status,
    "tasks": list_tasks,
    "why": why,
    "retry": retry,
    "reproduce": reproduce,
    "pause": pause,
    "resume": resume,
    "acknowledge": acknowledge,
    "ha": ha.run,
    "relog": read_relog,
    "stop": power.stop,
    "start": power.start,
    "ensure": ensure_up,
}
