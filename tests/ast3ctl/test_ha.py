"""What `ast3ctl ha` prints, and that no answer can do a terminal harm."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast3ctl.ha import _plan_lines, _status_lines

NODE = {"state": "able", "lease": True, "witness": "able", "reason": ""}
TELESCOPE = {
    "owner": "A", "holder": "A", "token": 4711, "epoch": 1, "array": "north", "flaps": 0, "pinned": False, "why": "",
    "works_here": True, "provisional": False, "releasing_to": None, "ordered_to": None, "backup": "B",
    "returns_in_seconds": None,
}  # fmt: skip
STATUS = {
    "node": "A", "mode": "cyclic", "quorum": True, "nodes": {"A": NODE, "B": NODE, "C": NODE},
    "telescopes": {"ast3-1": TELESCOPE, "ast3-2": TELESCOPE | {"owner": "B", "holder": "B", "backup": None, "array": None}},
    "lease": {"id": 7, "regrants": 0, "last_gap_seconds": 0.0}, "problems": [],
}  # fmt: skip
TEXT = st.text(st.characters(exclude_categories=()))


def lines(**changes):
    return list(_status_lines(STATUS | {"telescopes": {"ast3-1": TELESCOPE | changes}}))


def test_a_calm_cluster():
    assert list(_status_lines(STATUS)) == [
        "A of A, B, C  cyclic, etcd answers",
        "NODE  STATE  LEASE  WITNESS  WHY",
        "A     able   yes    able",
        "B     able   yes    able",
        "C     able   yes    able",
        "TELESCOPE  OF  AT  TOKEN   BACKUP  ARRAY  NEXT",
        "ast3-1     A   A   1.4711  B       north",
        "ast3-2     B   B   1.4711  nobody  -",
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"releasing_to": "B"}, "goes to B when its frames have ended"),
        ({"ordered_to": "C"}, "ordered to C, which is not able"),
        ({"provisional": True}, "worked for here without etcd's word"),
        ({"holder": "B", "pinned": True}, "stays until `ast3ctl ha handback A`"),
        ({"holder": "B", "returns_in_seconds": 90.0}, "back to A in 1 min 30 s if it is well"),
        ({"holder": "B"}, "waits for A to be well"),
    ],
)
def test_what_becomes_of_a_telescope_fits_a_terminal(changes, words):
    said = lines(**changes)
    assert said[-1].endswith(words)
    assert max(map(len, said)) <= 80


@given(TEXT, TEXT, TEXT)
def test_a_terminal_survives_whatever_a_node_says(reason, name, problem):
    status = STATUS | {
        "nodes": {name: NODE | {"reason": reason}},
        "telescopes": {name: TELESCOPE | {"owner": name, "holder": reason, "releasing_to": name}},
        "problems": [problem],
    }
    assert all(line.isprintable() for line in _status_lines(status))
    plan = {"able": [name], "moves": [{"telescope": name, "from": reason, "to": "B", "kind": "takeover"}], "nobody": [name]}
    assert all(line.isprintable() for line in _plan_lines(plan))


def test_a_plan():
    move = {"telescope": "ast3-1", "from": "A", "to": "B", "kind": "takeover"}
    said = _plan_lines({"able": ["B"], "moves": [move], "nobody": ["ast3-2"]})
    assert said == ["able: B", "ast3-1  A -> B  (takeover)", "ast3-2  nobody"]
    assert _plan_lines({"able": [], "moves": [], "nobody": []}) == ["able: nobody", "nothing moves"]


def test_without_an_agent_one_line_says_what_to_do(ctl):
    code, out, err = ctl("ha", "status")
    assert (code, out) == (1, "")
    assert "ast3-ha is not running" in err
    assert "`ast3-ha` starts it" in err


@pytest.mark.parametrize(
    "words", [[], ["dance"], ["what-if"], ["handover", "A"], ["handover", "--to", "B"], ["handback"], ["handback", "A", "B"]]
)
def test_a_wrong_call_is_one_line(ctl, words):
    code, out, err = ctl("ha", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_as_json(monkeypatch, ctl):
    monkeypatch.setattr("ast3ctl.ha.call", lambda *_: STATUS)
    code, out, _ = ctl("ha", "status", "--json")
    assert (code, json.loads(out)) == (0, STATUS)
