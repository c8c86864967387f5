"""The fields of a JSON file that a worker or the daemon wrote, each with the type that it must have.

It may be cut off, edited by hand or another version's: whatever is wrong is a ProblemError that names file and field.
"""

import json
import os
from pathlib import Path
from typing import Any, TypeVar

from ast3ctl.problem import ProblemError

_T = TypeVar("_T")
_KINDS = {
    dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false",
    type(None): "null",
}  # fmt: skip


class Fields:
    """What is in `path`; ProblemError where that cannot be read, or is no JSON object."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._facts = json.loads(path.read_bytes())
        except OSError as error:
            raise ProblemError(f"{path}, what the attempt was given, cannot be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            raise self.wrong("it is no JSON") from error
        if not isinstance(self._facts, dict):
            raise self.wrong("it is no JSON object")

    def get(self, name: str, kind: type[_T]) -> _T:
        """A field that must be there; `a.b` is the field b of the field a."""
        value = self.optional(name, kind)
        if value is None:
            raise self.wrong(f"its field {name} is missing")
        return value

    def optional(self, name: str, kind: type[_T]) -> _T | None:
        """A field that may be missing or null."""
        outer, _, inner = name.rpartition(".")
        value: Any = (self.get(outer, dict) if outer else self._facts).get(inner)
        if value is None:
            return None
        if kind is str:
            self._require_text(name, value)
        if not isinstance(value, kind):
            raise self.wrong(f"its field {name} is {_KINDS[type(value)]} and must be {_KINDS[kind]}")
        return value

    def words(self, name: str) -> list[str]:
        """A command."""
        words: list[Any] = self.get(name, list)
        for word in words:
            self._require_text(name, word)
        return words

    def variables(self, name: str) -> dict[str, str]:
        """An environment."""
        variables: dict[str, Any] = self.get(name, dict)
        for key, value in variables.items():
            self._require_text(name, key)
            self._require_text(f"{name}.{key}", value)
        return variables

    def says(self, name: str, text: str) -> bool:
        """Whether the field is this text; it may be missing or anything else."""
        return bool(self._facts.get(name) == text)

    def file_name(self, name: str, value: str) -> str:
        """The value, if a file can be called so in the folder that it is put into."""
        if value in {"", ".", ".."} or {"/", "\0"} & set(value):
            raise self.wrong(f"its field {name} is {value!a}, which is no name of a file")
        return value

    def wrong(self, what: str) -> ProblemError:
        """For raising."""
        return ProblemError(f"{self._path} is damaged or incomplete: {what}; the attempt cannot be run again")

    def _require_text(self, name: str, value: object) -> None:
        """One that a path or a command can hold."""
        if not isinstance(value, str):
            raise self.wrong(f"its field {name} is or holds {_KINDS[type(value)]} where a text must be")
        try:
            usable = b"\0" not in os.fsencode(value)
        except UnicodeEncodeError:
            usable = False
        if not usable:
            raise self.wrong(f"its field {name} is {value!a}, which no path or command can hold")
