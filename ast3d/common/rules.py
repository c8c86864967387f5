"""What a configuration key may hold: each rule checks one kind of value and says in words what is allowed.

A rule stands in the annotation of a dataclass field, with the key's meaning in plain words, its unit, and
who may change it: `config` (over the link), `code` (a release), or `site` (at the console only).  `take` gives
the value as the dataclass holds it (lists as tuples); `ValueError` says in words what is allowed.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, Protocol

from ast3d.common.strict_yaml import Mapping, Node, Scalar, Sequence

By = Literal["config", "code", "site"]


class Rule(Protocol):
    """What every rule offers."""

    @property
    def allowed(self) -> str:
        """In words, after `allowed:`."""

    def take(self, node: Node) -> Any:
        """The value; `ValueError(self.allowed)` if it is none."""


@dataclass(frozen=True)
class Setting:
    """What a key means: the rule for its value, and the words for the person who edits it."""

    rule: Rule
    doc: str
    unit: str = ""
    by: By = "config"


@dataclass(frozen=True)
class Group:
    """A mapping of the file."""

    def as_dict(self) -> dict[str, Any]:
        """The keys and values, plain: JSON can carry them (tuples are lists there)."""
        return asdict(self)


@dataclass(frozen=True)
class Number:
    """A number within limits, both included."""

    least: float
    most: float
    whole: bool = False

    @property
    def allowed(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} from {self.least:g} to {self.most:g}"

    def take(self, node: Node) -> int | float:
        value = node.value if isinstance(node, Scalar) else None
        good = isinstance(value, int if self.whole else (int, float)) and not isinstance(value, bool)
        if not (good and self.least <= value <= self.most):  # type: ignore[operator]
            raise ValueError(self.allowed)
        return value if self.whole else float(value)  # type: ignore[return-value, arg-type]


@dataclass(frozen=True)
class Switch:
    """Yes or no, in YAML's own words."""

    allowed: str = "true or false"

    def take(self, node: Node) -> bool:
        value = node.value if isinstance(node, Scalar) else None
        if value is not True and value is not False:
            raise ValueError(self.allowed)
        return value


@dataclass(frozen=True)
class OneOf:
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return f"one of {', '.join(self.words)}"

    def take(self, node: Node) -> str:
        if not (isinstance(node, Scalar) and isinstance(node.value, str) and node.value in self.words):
            raise ValueError(self.allowed)
        return node.value


@dataclass(frozen=True)
class Text:
    """A word that matches a pattern as a whole; `means` says in words what the pattern asks for."""

    pattern: str
    means: str

    @property
    def allowed(self) -> str:
        return self.means

    def take(self, node: Node) -> str:
        value = node.value if isinstance(node, Scalar) else None
        if not (isinstance(value, str) and re.fullmatch(self.pattern, value)):
            raise ValueError(self.allowed)
        return value


NAME = Text(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", "a letter or digit, then up to 31 letters, digits, '_', '.' or '-'")


@dataclass(frozen=True)
class Folder:
    """An absolute path without `..`."""

    allowed: str = "an absolute path without '..'"

    def take(self, node: Node) -> str:
        value = node.value if isinstance(node, Scalar) else None
        if not isinstance(value, str) or not value.isprintable():
            raise ValueError(self.allowed)
        path = PurePosixPath(value)
        if not path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
            raise ValueError(self.allowed)
        return str(path)


@dataclass(frozen=True)
class File:
    """An absolute or relative path of a file, without `..`."""

    allowed: str = "the path of a file without '..'"

    def take(self, node: Node) -> str:
        value = node.value if isinstance(node, Scalar) else None
        if not isinstance(value, str) or not value.isprintable() or value.endswith("/"):
            raise ValueError(self.allowed)
        path = PurePosixPath(value)
        if not path.name or ".." in path.parts:
            raise ValueError(self.allowed)
        return str(path)


@dataclass(frozen=True)
class Either:
    """One word (`null` is the word for nothing), or what another rule allows."""

    word: str | None
    rule: Rule

    @property
    def allowed(self) -> str:
        return f"{self.word or 'null'}, or {self.rule.allowed}"

    def take(self, node: Node) -> Any:
        if isinstance(node, Scalar) and node.value == self.word:
            return self.word
        try:
            return self.rule.take(node)
        except ValueError:
            raise ValueError(self.allowed) from None


@dataclass(frozen=True)
class ListOf:
    """A list of what another rule allows.

    `rising`: numbers, each greater than the one before it; `needs`: the item that must be there, none twice.
    """

    rule: Rule
    least: int = 0
    most: int = 64
    rising: bool = False
    needs: str | None = None

    @property
    def allowed(self) -> str:
        size = f"a list of {self.least} to {self.most}"
        order = ", rising" if self.rising else ""
        needs = f", {self.needs} among them, none twice" if self.needs else ""
        return f"{size}, each {self.rule.allowed}{order}{needs}"

    def take(self, node: Node) -> tuple[Any, ...]:
        if not (isinstance(node, Sequence) and self.least <= len(node.items) <= self.most):
            raise ValueError(self.allowed)
        try:
            values = tuple(self.rule.take(item) for item in node.items)
        except ValueError:
            raise ValueError(self.allowed) from None
        if self.rising and list(values) != sorted(set(values)):
            raise ValueError(self.allowed)
        if self.needs and (self.needs not in values or len(set(values)) != len(values)):
            raise ValueError(self.allowed)
        return values


def found(node: Node) -> str:
    """The value as a complaint shows it, on one line."""
    if isinstance(node, Mapping):
        return f"a mapping of {len(node.items)} keys"
    if isinstance(node, Sequence):
        shown = ", ".join(found(item) for item in node.items[:8])
        return f"[{shown}, ...]" if len(node.items) > 8 else f"[{shown}]"
    if node.value is None:
        return "null"
    if isinstance(node.value, bool):
        return str(node.value).lower()
    return ascii(node.value)[:80]
