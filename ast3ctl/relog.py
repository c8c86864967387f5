"""The recovery log, read from its segments: the daemon may be dead, the folder a damaged copy.  Nothing is changed."""

import json
from pathlib import Path
from typing import Any

from ast3ctl.problem import ProblemError
from ast3ctl.words import printable, table
from ast3d.common.relog.disk import OsDisk
from ast3d.common.relog.frames import Entry
from ast3d.common.relog.recovery import Reading, read
from ast3d.common.relog.segment import Segment

_BOOT_DIGITS = 8


def show(folder: Path, last: int | None, *, named: bool) -> tuple[list[dict[str, Any]], list[str]]:
    """The records, all or the last so many, as data and as lines; `named`: an operator chose the folder."""
    reading = _read(folder, named=named)
    entries = reading.entries if last is None else reading.entries[len(reading.entries) - min(last, len(reading.entries)) :]
    problems = len(reading.report.problems())
    note = [f"{problems} problems; `ast3ctl relog verify` lists them"] if problems else []
    return [_data(entry) for entry in entries], [*map(_line, entries), *note] or ["no records"]


def verify(folder: Path, *, named: bool) -> tuple[dict[str, Any], list[str], int]:
    """What is wrong, as data and as lines, and in how many places; `named`: an operator chose the folder."""
    reading = _read(folder, named=named)
    segments = [_segment(segment) for segment in reading.segments]
    problems = reading.report.problems()
    rows = [[s["name"], f"{s['records']} records", _span(s), "damaged" if s["problems"] else "whole"] for s in segments]
    lines = [*table(rows), *map(printable, problems)] or ["no segments"]
    data = {"segments": segments, "missing": reading.report.missing, "problems": problems}
    return data, lines, len(problems)


def _read(folder: Path, *, named: bool) -> Reading:
    if folder.is_file():
        raise ProblemError(f"no relog to read: {folder} is a file; name its folder, {folder.absolute().parent}")
    if not folder.is_dir():
        raise ProblemError(f"no relog to read: {folder}: no such folder")
    reading = read(OsDisk(folder))
    if reading.report.problems():  # ast3d may have been writing: what is half written now is whole a moment later
        reading = read(OsDisk(folder))
    if reading.problem is not None:
        raise ProblemError(f"no relog to read: {folder}: {reading.problem.strerror}")
    if named and not reading.segments:  # that of a node may be new, or removed on purpose
        raise ProblemError(f"no segments in {folder}: name a folder that holds files such as 0000000001.relog")
    return reading


def _segment(segment: Segment) -> dict[str, Any]:
    numbers = [entry.seq for entry in segment.entries]
    return {
        "name": segment.name,
        "bytes": segment.bytes,
        "records": len(numbers),
        "first": min(numbers, default=None),
        "last": max(numbers, default=None),
        "problems": [str(damage) for damage in segment.damaged],
    }


def _span(segment: dict[str, Any]) -> str:
    return f"{segment['first']} to {segment['last']}" if segment["records"] else "-"


def _data(entry: Entry) -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "boottime": entry.boottime,
        "boot_id": entry.boot_id,
        "type": entry.type,
        "version": entry.version,
        "payload": _payload(entry),
    }


def _payload(entry: Entry) -> Any:
    try:
        return json.loads(entry.payload)
    except (ValueError, RecursionError):
        return entry.payload.decode("ascii", "backslashreplace")


def _line(entry: Entry) -> str:
    payload = _payload(entry)
    fields = payload.items() if isinstance(payload, dict) else [("payload", payload)]
    words = [f"{name}={_value(value)}" for name, value in fields]
    head = (str(entry.seq), f"{entry.boottime:.3f}", entry.boot_id[:_BOOT_DIGITS], entry.type)
    return printable("  ".join([*head, " ".join(words)]).rstrip())


def _value(value: Any) -> str:
    """A plain word as it is, anything else as JSON."""
    if isinstance(value, str) and value.isprintable() and not set(value) & set(' "'):
        return value
    return json.dumps(value, separators=(",", ":"))
