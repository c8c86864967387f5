import json
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast3d import records as r
from ast3d.codec import decode, encode

DURABLE = get_args(r.Durable)
text = st.text(st.characters(exclude_categories=["Cs"]))
# Names of files as they are: any bytes.
names = st.one_of(text, st.binary(max_size=30).map(lambda b: b.decode("utf-8", "surrogateescape")))
plain = {str: names, int: st.integers(), float: st.floats(allow_nan=False), bool: st.booleans(), NoneType: st.none()}


def of(hint):
    """Anything that the type hint allows."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return st.sampled_from(args)
    if origin in {Union, UnionType}:
        return st.one_of(map(of, args))
    if origin is tuple:
        return st.lists(of(args[0])).map(tuple) if args[1:] == (...,) else st.tuples(*map(of, args))
    if origin is dict:
        return st.dictionaries(of(args[0]), of(args[1]))
    if is_dataclass(hint):
        return st.builds(hint, **{name: of(inner) for name, inner in get_type_hints(hint).items()})
    return plain[hint]


records = st.one_of(map(of, DURABLE))


@given(records)
def test_every_record_comes_back(record):
    kind, version, payload = encode(record)
    assert decode(kind, version, payload) == record
    assert (kind, version) == (type(record).__name__, 1)
    assert payload.isascii()
    assert isinstance(json.loads(payload), dict)


@given(records, st.data())
def test_fields_may_come_and_go(record, data):
    kind, version, payload = encode(record)
    content = json.loads(payload)
    assert decode(kind, version, json.dumps(content | {"coming": [1]}).encode()) == record
    if not content:
        return
    gone = data.draw(st.sampled_from(sorted(content)))
    del content[gone]
    again = decode(kind, version, json.dumps(content).encode())
    (field,) = (f for f in fields(record) if f.name == gone)
    if field.default is MISSING and field.default_factory is MISSING:
        assert again is None
    else:
        default = field.default if field.default is not MISSING else field.default_factory()
        assert getattr(again, gone) == default
        assert all(getattr(again, f.name) == getattr(record, f.name) for f in fields(record) if f.name != gone)


@pytest.mark.parametrize("record", DURABLE)
def test_a_type_is_no_longer_than_the_relog_takes(record):
    assert len(record.__name__) <= 16


@pytest.mark.parametrize(
    ("kind", "version", "payload"),
    [
        ("Invented", 1, b"{}"),
        ("Seen", 1, b"{}"),
        ("Stopped", 2, b"{}"),
        ("Stopped", 1, b""),
        ("Stopped", 1, b"[]"),
        ("Stopped", 1, b"{\xff}"),
        ("Stopped", 1, b'{"now": 1'),
        ("Hurried", 1, b'{"now": "1", "task": "t"}'),
        ("Hurried", 1, b'{"now": true, "task": "t"}'),
        ("Hurried", 1, b'{"now": 1.0, "task": null}'),
        ("Hurried", 1, b'{"now": 1.0, "task": ["t"]}'),
        ("Hurried", 1, b'{"now": 1.0}'),
        ("Hurried", 1, b'{"now": 1' + b"0" * 400 + b', "task": "t"}'),
        ("Hurried", 1, b'{"now": ' + b"9" * 5000 + b', "task": "t"}'),
        ("Hurried", 1, b'{"now": 1.0, "task": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        ("Started", 1, b'{"now": 1.0, "task": "t", "attempt": 1.0}'),
        ("Started", 1, b'{"now": 1.0, "task": "t", "attempt": true}'),
        ("Signalled", 1, b'{"now": 1.0, "task": "t", "signal": "INT", "reason": ""}'),
        ("Signalled", 1, b'{"now": 1.0, "task": "t", "signal": ["TERM"], "reason": ""}'),
        ("Kept", 1, b'{"task": {}}'),
        ("BreakerOpened", 1, b'{"breaker": null}'),
    ],
)
def test_what_cannot_be_understood_is_none(kind, version, payload):
    assert decode(kind, version, payload) is None


def test_a_whole_number_where_a_fraction_is_meant():
    assert decode("Paused", 1, b'{"until": 3}') == r.Paused(3.0)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
contents = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(st.sampled_from(DURABLE), contents)
def test_no_json_raises(kind, content):
    record = decode(kind.__name__, 1, json.dumps(content).encode())
    assert record is None or isinstance(record, kind)
    fitting = {f.name: content for f in fields(kind)}
    record = decode(kind.__name__, 1, json.dumps(fitting).encode())
    assert record is None or isinstance(record, kind)
