"""One event as one line of text, and back.

`2026-06-21T03:14:15.926Z INFO ast3d task.done frame=kb13475_0030-5f2a seconds=12.3`

A value stands bare if it is printable and without spaces, quotes and backslashes; otherwise it is a JSON string
in which every character that a terminal would not print is escaped.  So an event is one line, whatever it carries.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

LEVELS = ("DEBUG", "INFO", "ERROR", "FATAL")

_NAME = re.compile(r"[^A-Za-z0-9_.-]")
_FIELD = re.compile(r' ([A-Za-z0-9_.-]+)=("(?:[^"\\]|\\.)*"|[^ "\\]*)')
_HEAD = re.compile(r"(\S+) (DEBUG|INFO|ERROR|FATAL) (\S+) (\S+)")


class LogLine(NamedTuple):
    """A line read back; values are strings, as they were shown."""

    time: str
    level: str
    daemon: str
    event: str
    fields: dict[str, str]


def render(time: str, level: str, daemon: str, event: str, fields: Mapping[str, Any]) -> str:
    """The event as one printable line, without the newline."""
    shown = "".join(f" {_NAME.sub('_', key) or '_'}={_value(value)}" for key, value in fields.items())
    return f"{time} {level} {_NAME.sub('_', daemon) or '_'} {_NAME.sub('_', event) or '_'}{shown}"


def parse(line: str) -> LogLine | None:
    """What `render` was given; None for a line that it cannot have made (a torn or foreign one)."""
    head = _HEAD.match(line)
    if head is None:
        return None
    fields: dict[str, str] = {}
    end = head.end()
    while end < len(line):
        found = _FIELD.match(line, end)
        if found is None:
            return None
        fields[found[1]] = _unquoted(found[2])
        end = found.end()
    return LogLine(head[1], head[2], head[3], head[4], fields)


def _value(value: Any) -> str:
    if isinstance(value, float):
        text = repr(round(value, 3)) if abs(value) >= 1 or value == 0 else f"{value:.3g}"
    elif isinstance(value, str):
        text = value
    else:
        text = json.dumps(value, default=str)
    bare = text.isprintable() and not set(text) & {" ", '"', "\\"} and text
    return text if bare else _quoted(text)


def _quoted(text: str) -> str:
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in json.dumps(text, ensure_ascii=False))


def _unquoted(text: str) -> str:
    if not text.startswith('"'):
        return text
    try:
        return str(json.loads(text))
    except ValueError:
        return text
