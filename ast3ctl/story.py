"""What became of a finished task, in plain sentences, from its manifest.json or why.json.

The files are read as they are found: what is missing is left out, what is odd is shown as it is.
"""

from collections.abc import Iterator
from typing import Any

from ast3ctl.disk import ORDER, Finished, archived
from ast3ctl.words import duration, figure, printable, size
from ast3d.common.layout import Layout


def story(layout: Layout, task: Finished) -> list[str]:
    """The sentences, each one printable line."""
    facts = task.facts()
    if not facts:
        damaged = f"{task.state}, but what {task.folder} says of it cannot be read."
        return [printable(damaged)]
    sentences = _published(layout, task, facts) if task.state == "DONE" else _discarded(task, facts)
    return [printable(sentence) for sentence in sentences]


def _published(layout: Layout, task: Finished, facts: dict[str, Any]) -> Iterator[str]:
    when = f" {facts['published']}" if "published" in facts else ""
    night = str(facts.get("night", task.folder.parent.name))
    took = f" in {duration(facts['seconds'])}" if _is_number(facts.get("seconds")) else ""
    yield f"{facts.get('name', task.task)} of {task.telescope}, night {night}: published{when}."
    yield f"Attempt {facts.get('attempt', '?')} did it{took}."
    stages = [f"{s.get('name')} {duration(s['seconds'])}" for s in _dicts(facts, "stages") if _is_number(s.get("seconds"))]
    if stages:
        yield f"Stages: {', '.join(stages)}."
    figures = facts.get("figures")
    if isinstance(figures, dict) and figures:
        yield f"Found: {', '.join(f'{key} {figure(value)}' for key, value in figures.items())}."
    for note in _items(facts, "notes"):
        yield f"Note: {note}."
    files = facts.get("files")
    if isinstance(files, dict):
        total = sum(f["bytes"] for f in files.values() if isinstance(f, dict) and _is_number(f.get("bytes")))
        yield f"Products: {len(files)} files, {size(total)}, in {task.folder}."
    frame = archived(layout, task.telescope, night, task.task)
    yield f"The raw frame is {frame}." if frame else "The raw frame is not in the archive yet."


def _discarded(task: Finished, facts: dict[str, Any]) -> Iterator[str]:
    when = f" {facts['discarded']}" if "discarded" in facts else ""
    yield f"{facts.get('name', task.task)} of {task.telescope}: discarded{when}: {facts.get('reason', 'no reason given')}."
    for attempt in _dicts(facts, "attempts"):
        fault = {"frame": "the frame's fault", "environment": "the machine's fault"}.get(str(attempt.get("blame")), "")
        took = f" after {duration(attempt['seconds'])}" if _is_number(attempt.get("seconds")) else ""
        blame = f", {fault}" if fault else ""
        yield f"Attempt {attempt.get('attempt', '?')} ended{took}{blame}: {attempt.get('reason', 'no reason given')}."
        last = str(attempt.get("tail") or "").strip().rpartition("\n")[2]
        if last and last not in str(attempt.get("reason")):
            yield f"Its last words: {last[-300:]}"
    yield f"The frame and what each attempt said are in {task.folder}."
    if (task.folder / ORDER).exists():
        yield f"To run the last attempt again by hand: ast3ctl reproduce {task.task}"
    yield f"To try again: ast3ctl retry {task.task}"


def _items(facts: dict[str, Any], key: str) -> list[Any]:
    items = facts.get(key)
    return items if isinstance(items, list) else []


def _dicts(facts: dict[str, Any], key: str) -> list[dict[str, Any]]:
    return [item for item in _items(facts, key) if isinstance(item, dict)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
