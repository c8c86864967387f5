"""A YAML reader that refuses what YAML would silently change.

`parse` guarantees that a text it accepts is whole (it ends with the mark `...`), says each key once, and
means what a person reads: no tags, anchors, aliases, merges, octal, base 60, `yes`, `no` or dates, no second
document, not deeper than `MAX_DEPTH`, not longer than `MAX_BYTES`.  Anything else is a `ConfigError` of one
line.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import yaml

MAX_BYTES = 64 * 1024  # a second of parsing; the documented defaults have 6 KiB
END_MARK = "..."
MAX_DEPTH = 8

Plain = str | int | float | bool | None

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_REAL = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_NUMBER_LIKE = re.compile(r"[-+]?\.?[0-9][0-9a-fA-FxXoO_:.,eE+-]*|[-+]?\.(inf|nan)", re.IGNORECASE)
_YAML_1_1_TRUTH = frozenset({"y", "n", "yes", "no", "on", "off"})


class ConfigError(Exception):
    """The configuration cannot be used as it is; the message is one line: file, line, key, found, allowed."""


@dataclass(frozen=True)
class Scalar:
    """One value and the line (from 1) it stands in."""

    value: Plain
    line: int


@dataclass(frozen=True)
class Sequence:
    """A list, and the line it starts in."""

    items: "tuple[Node, ...]"
    line: int


@dataclass(frozen=True)
class Mapping:
    """Keys and values in the file's order, and the line it starts in."""

    items: "dict[str, Node]"
    lines: dict[str, int]  # of the keys
    line: int


Node = Scalar | Sequence | Mapping


def parse(data: bytes) -> Node:
    """The one document in `data`; `ConfigError` (starting with the line's number) for anything unsure."""
    if len(data) > MAX_BYTES:
        raise ConfigError(f"1: found {len(data)} bytes, allowed: up to {MAX_BYTES}")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{line}: found a byte that is not UTF-8, allowed: UTF-8 text") from error
    _check_end(text)
    try:
        return _document(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{line}: not YAML: {_one_line(error.problem or error.context)}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{line}: not YAML: found a control character, allowed: printable text") from error


def _check_end(text: str) -> None:
    """Before YAML looks at it: most cut-off files are YAML, and mean something else."""
    lines = [line.rstrip() for line in text.splitlines()]
    last = [line for line in lines if line and not line.lstrip().startswith("#")][-1:]
    if last != [END_MARK]:
        allowed = f"a last line '{END_MARK}', so that a cut-off file is noticed"
        raise ConfigError(f"{max(len(lines), 1)}: found no end mark, allowed: {allowed}")


def _one_line(text: str | None) -> str:
    return " ".join(str(text).split())


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _refuse(event: yaml.Event, found: str, allowed: str) -> NoReturn:
    raise ConfigError(f"{_line(event)}: found {found}, allowed: {allowed}")


def _document(events: Iterator[yaml.Event]) -> Node:
    next(events)  # the stream's start
    start = next(events)
    assert isinstance(start, yaml.DocumentStartEvent)  # the end mark, checked before, is a part of one
    if start.version or start.tags:
        _refuse(start, "a %YAML or %TAG line", "no such line")
    root = _node(next(events), events, 0)
    next(events)  # the document's end
    after = next(events)
    if not isinstance(after, yaml.StreamEndEvent):
        _refuse(after, "a second document", f"one, and the end mark '{END_MARK}'")
    return root


def _node(event: yaml.Event, events: Iterator[yaml.Event], depth: int) -> Node:
    if depth > MAX_DEPTH:
        _refuse(event, f"more than {MAX_DEPTH} levels", "fewer")
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        _refuse(event, "an anchor or alias (& or *)", "each value written out")
    if getattr(event, "tag", None):
        _refuse(event, "a tag (!)", "plain values")
    if isinstance(event, yaml.ScalarEvent):
        return Scalar(_value(event), _line(event))
    if isinstance(event, yaml.SequenceStartEvent):
        return Sequence(tuple(_items(events, depth)), _line(event))
    pairs, lines = _pairs(events, depth)
    return Mapping(pairs, lines, _line(event))


def _items(events: Iterator[yaml.Event], depth: int) -> Iterator[Node]:
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        yield _node(event, events, depth + 1)


def _pairs(events: Iterator[yaml.Event], depth: int) -> tuple[dict[str, Node], dict[str, int]]:
    pairs: dict[str, Node] = {}
    lines: dict[str, int] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key = _node(event, events, depth + 1)
        if not (isinstance(key, Scalar) and isinstance(key.value, str)):
            _refuse(event, "a key that is not a word", "words as keys (quote it if it is one)")
        if key.value in pairs:
            _refuse(event, f"the key {key.value!r} a second time", "each key once")
        lines[key.value] = key.line
        pairs[key.value] = _node(next(events), events, depth + 1)
    return pairs, lines


def _value(event: yaml.ScalarEvent) -> Plain:
    """What the scalar means to YAML and to a person alike; refused where the two differ."""
    text = event.value
    if event.style is not None:
        return text
    if text in {"true", "false"}:
        return text == "true"
    if text == "null":
        return None
    if text == "":
        _refuse(event, "nothing", "a value; null if none is meant")
    if _INTEGER.fullmatch(text):
        return int(text)
    if _REAL.fullmatch(text):
        return float(text)
    if _surprises(text):
        _refuse(event, text, "a plain decimal number, true, false or null; in quotes if it is a word")
    return text


def _surprises(text: str) -> bool:
    """True if some YAML reader takes the bare `text` for something else than a word."""
    if text.lower() in _YAML_1_1_TRUTH or _NUMBER_LIKE.fullmatch(text):
        return True
    patterns = yaml.SafeLoader.yaml_implicit_resolvers
    return any(pattern.match(text) for _, pattern in [*patterns.get(text[0], []), *patterns.get(None, [])])
