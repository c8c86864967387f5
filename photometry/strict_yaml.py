"""A small YAML file as a tree whose every value knows its key, and refuses what it should not be.

Guarantee: a file that is accepted is whole (its last line is the end mark `...`), says each key once, and means what a
person reads: the core schema of YAML 1.2, so that `no` and `12:30:45` are words; no anchors, no tags.  Everything else is
a `BadInputError` of one line: file, key, what was found, what is allowed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from photometry.errors import BadInputError, EnvironmentFailedError

_MOST_BYTES = 64 * 1024
_END_MARK = "..."
_SHOWN = 60
_SECTION = re.compile(r"\[\s*(\d{1,6})\s*:\s*(\d{1,6})\s*,\s*(\d{1,6})\s*:\s*(\d{1,6})\s*\]")

Section = tuple[slice, slice]
"""Rows and columns of a rectangle, 0-based, the ends exclusive."""

T = TypeVar("T")


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2: true, false, null, decimal numbers; all else is text."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  (yaml's own name for a table of the class)

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor or getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(problem="found an anchor, an alias or a tag", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen or not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem=f"found the key {key.value!r} a second time", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:null|~)$"), ["n", "~"])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^-?(?:0|[1-9][0-9]{0,17})$"), list("-0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]+(?:[eE][-+]?[0-9]{1,3})?|[eE][-+]?[0-9]{1,3})$"),
    list("-0123456789"),
)


@dataclass(frozen=True)
class Entry:
    """A value of the file and the key it stands under; each method gives it as one kind of value or refuses it."""

    file: str
    key: str
    value: Any

    def refuse(self, allowed: str) -> NoReturn:
        """Say that the value is not what is allowed here."""
        shown = ascii(self.value)
        shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 3] + "..."
        raise BadInputError(f"{self.file}: {self.key or 'the file'}: found {shown}; allowed is {allowed}")

    def keys(self, *names: str) -> "list[Entry]":
        """The values under exactly these keys, in this order."""
        found = self.pairs()
        for name in found:
            if name not in names:
                raise BadInputError(f"{self.file}: {self._below(name)}: unknown key; known are {', '.join(names)}")
        for name in names:
            if name not in found:
                raise BadInputError(f"{self.file}: {self._below(name)}: missing; write null where nothing is meant")
        return [found[name] for name in names]

    def pairs(self) -> "dict[str, Entry]":
        """A mapping with words as keys."""
        if not isinstance(self.value, dict) or not all(isinstance(key, str) for key in self.value):
            self.refuse("a mapping with words as keys")
        return {key: Entry(self.file, self._below(key), value) for key, value in self.value.items()}

    def items(self, least: int, most: int) -> "list[Entry]":
        """A list of so many values."""
        if not isinstance(self.value, list) or not least <= len(self.value) <= most:
            self.refuse(f"a list of {least}" if least == most else f"a list of {least} to {most}")
        return [Entry(self.file, f"{self.key}[{i}]", value) for i, value in enumerate(self.value)]

    def number(self, low: float, high: float) -> float:
        """A number within low..high."""
        good = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        if not good or not low <= self.value <= high:
            self.refuse(f"a number from {low:g} to {high:g}")
        return float(self.value)

    def whole(self, low: int, high: int) -> int:
        """A whole number within low..high."""
        if not isinstance(self.value, int) or isinstance(self.value, bool) or not low <= self.value <= high:
            self.refuse(f"a whole number from {low} to {high}")
        return self.value

    def text(self) -> str:
        """Printable text that is not empty."""
        if not isinstance(self.value, str) or not self.value.strip() or not self.value.isprintable():
            self.refuse("text (in quotes if it looks like a number)")
        return self.value.strip()

    def one_of(self, words: tuple[str, ...]) -> str:
        """One of a few words."""
        if not isinstance(self.value, str) or self.value not in words:
            self.refuse(f"one of {', '.join(words)}")
        return self.value

    def section(self) -> Section:
        """A FITS section, '[x0:x1,y0:y1]', 1-based and inclusive."""
        match = _SECTION.fullmatch(self.value) if isinstance(self.value, str) else None
        x0, x1, y0, y1 = (int(group) for group in match.groups()) if match else (0, 0, 0, 0)
        if not (1 <= x0 <= x1 and 1 <= y0 <= y1):
            self.refuse("'[x0:x1,y0:y1]' in quotes, 1-based, both ends inclusive")
        return slice(y0 - 1, y1), slice(x0 - 1, x1)

    def maybe(self, take: "Callable[[Entry], T]") -> T | None:
        """None for null, else what `take` gives."""
        return None if self.value is None else take(self)

    def _below(self, key: str) -> str:
        return f"{self.key}.{key}" if self.key else key


def read_entries(path: Path) -> Entry:
    """The file's one document.  BadInputError: not such a file.  EnvironmentFailedError: it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EnvironmentFailedError(f"cannot read {path.name}: {error.strerror or error}") from error
    if len(content) > _MOST_BYTES:
        raise BadInputError(f"{path.name}: has {len(content):,} bytes; allowed are {_MOST_BYTES:,}")
    try:
        text = content.decode("utf-8")
        lines = [line.rstrip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        if lines[-1:] != [_END_MARK]:
            raise BadInputError(f"{path.name}: no end mark; write {_END_MARK} as its last line, so that a cut is noticed")
        return Entry(path.name, "", yaml.load(text, Loader=_Loader))  # noqa: S506  (a SafeLoader)
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path.name}: byte {error.start} is not UTF-8 text") from error
    except yaml.YAMLError as error:
        said = getattr(error, "problem", None) or error
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise BadInputError(f"{path.name}: not YAML{where}: {' '.join(str(said).split())}") from error
    except (RecursionError, ValueError) as error:
        raise BadInputError(f"{path.name}: not YAML: {' '.join(str(error).split())[:160]}") from error
