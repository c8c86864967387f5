"""Durable records as the relog keeps them: (type, version, payload), the payload one JSON object of the record's fields.

`decode(*encode(record)) == record` for every Durable record.  A field that a payload does not have takes its default, one
that the dataclass does not have is passed over; so fields can come and go, and `_VERSION` rises only where one changes its
meaning or its default.  What cannot be understood (a type or version of a newer ast3d, other values than the type hints
allow) is None.
"""

import dataclasses
import json
import types
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ast3d.records import Durable

_VERSION = 1
_TYPES: dict[str, type[Durable]] = {record.__name__: record for record in get_args(Durable)}

Reader = Callable[[Any], Any]  # from what JSON gives to what the hint means; ValueError and the like if it is something else


def encode(record: Durable) -> tuple[str, int, bytes]:
    """Type, version and payload of a record."""
    return type(record).__name__, _VERSION, _ENCODER.encode(_fields(record)).encode("ascii")


def decode(kind: str, version: int, payload: bytes) -> Durable | None:
    """The record; None where it is a newer ast3d's, or none at all."""
    if version > _VERSION or kind not in _TYPES:
        return None
    try:
        record: Durable = _record(kind)(json.loads(payload.decode("ascii")))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    return record


def _fields(value: Any) -> dict[str, Any]:
    """What differs from the defaults: most of a task does not."""
    fields = {}
    kind: Any = type(value)
    for name, default in _defaults(kind):
        field = getattr(value, name)
        if default is dataclasses.MISSING or field != default:
            fields[name] = field
    return fields


@cache
def _defaults(kind: Any) -> list[tuple[str, Any]]:
    return [(field.name, field.default) for field in dataclasses.fields(kind)]


_ENCODER = json.JSONEncoder(default=_fields, check_circular=False, separators=(",", ":"))


@cache
def _record(kind: str) -> Reader:
    return _dataclass(_TYPES[kind])


def _reader(hint: Any) -> Reader:
    """How to read what has this type hint."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return _literal(args)
    if origin in {Union, types.UnionType}:
        return _optional(args)
    if origin is tuple:
        return _sequence(args[0]) if args[1:] == (...,) else _tuple(args)
    if origin is dict:
        return _dict(args[1])
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint)
    return _plain(hint)


def _plain(kind: type) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is kind:
            return value
        if kind is float and type(value) is int:
            return float(value)
        raise TypeError

    return read


def _literal(allowed: tuple[Any, ...]) -> Reader:
    one_object_each = {value: value for value in allowed}

    def read(value: Any) -> Any:
        if value not in allowed:
            raise ValueError
        return one_object_each[value]

    return read


def _optional(hints: tuple[Any, ...]) -> Reader:
    (hint,) = (h for h in hints if h is not types.NoneType)
    inner = _reader(hint)
    return lambda value: None if value is None else inner(value)


def _sequence(hint: Any) -> Reader:
    item = _reader(hint)
    return lambda value: tuple([item(v) for v in _a(list, value)])


def _tuple(hints: tuple[Any, ...]) -> Reader:
    items = [_reader(hint) for hint in hints]
    return lambda value: tuple([item(v) for item, v in zip(items, _a(list, value), strict=True)])


def _dict(hint: Any) -> Reader:
    item = _reader(hint)
    return lambda value: {key: item(v) for key, v in _a(dict, value).items()}


def _dataclass(kind: Any) -> Reader:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in dataclasses.fields(kind)}

    def read(value: Any) -> Any:
        return kind(**{name: readers[name](v) for name, v in _a(dict, value).items() if name in readers})

    return read


def _a(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError
    return value
