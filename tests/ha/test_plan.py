"""The plan equals a table that was written by hand, and keeps its promises where no table reaches."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ha.plan import Assignment, Membership, Policy, line, plan

TABLE = Path(__file__).with_name("plan.table")


@dataclass
class Case:
    mode: str
    ring: str
    owners: str
    holders: str
    able: str
    column: str
    said: str


def cases():
    for text in TABLE.read_text(encoding="ascii").splitlines():
        if text.startswith("=="):
            _, mode, ring, owners, holders = text.split()
            owners, holders = owners.partition("=")[2], holders.partition("=")[2]
        elif text.startswith("able"):
            columns = text.split()
        elif text and not text.startswith("#"):
            row = dict(zip(columns, text.split(), strict=True))
            able = row.pop("able").replace("-", "")
            for column, said in row.items():
                case = Case(mode, ring, owners, holders, able, column, said)
                yield pytest.param(case, id=f"{mode}-{ring}-{owners}-{holders}-{able or 'none'}-{column}")


def policy_of(case, **changes):
    spares = frozenset(name.upper() for name in case.ring if name.islower())
    given = {"nodes": tuple(case.ring.upper()), "spares": spares, "mode": case.mode, **changes}
    return Policy(**given)


def assignments_of(case):
    return {str(n): Assignment(*pair) for n, pair in enumerate(zip(case.owners, case.holders, strict=True), 1)}


@pytest.mark.parametrize("case", list(cases()))
def test_is_as_the_table_says(case):
    before, able = assignments_of(case), frozenset(case.able)
    no_quorum = {"prov": "provisional", "park": "park"}.get(case.column, "park")
    takeover = "permanent" if case.column == "owners" else "temporary"
    quorum = case.column in ("quorum", "owners")
    moves = plan(Membership(able, quorum), before, policy_of(case, takeover=takeover, no_quorum=no_quorum))
    to = {move.telescope: move.to for move in moves}
    holders = "".join((to.get(n, now.holder) if to.get(n, now.holder) in able else "-") for n, now in before.items())
    owned = {move.telescope: move.to for move in moves if move.permanent}
    owners = "".join(owned.get(n, now.owner) for n, now in before.items())
    assert (owners if case.column == "owners" else holders) == case.said
    if case.column != "owners":
        assert owners == case.owners


def test_the_table_has_every_membership():
    seen = {}
    for case in (param.values[0] for param in cases()):
        seen.setdefault((case.mode, case.ring, case.owners, case.holders), set()).add(case.able)
    assert {len(able) for (_, ring, *_), able in seen.items() if len(ring) == 3} == {8}
    assert {len(able) for (_, ring, *_), able in seen.items() if len(ring) == 4} == {16}
    assert {(mode, len(ring)) for mode, ring, *_ in seen} == {(m, n) for m in ("cyclic", "redundant") for n in (3, 4)}


NODES = ("A", "B", "C", "D", "E")


@st.composite
def situations(draw):
    nodes = NODES[: draw(st.integers(1, 5))]
    policy = Policy(
        nodes,
        frozenset(draw(st.sets(st.sampled_from(nodes), max_size=2))),
        draw(st.sampled_from(("cyclic", "redundant"))),
        draw(st.sampled_from(("temporary", "permanent"))),
        draw(st.sampled_from(("provisional", "park"))),
    )
    anyone = st.sampled_from((*nodes, "Z"))  # Z: a node that the configuration does not name any more
    telescopes = st.dictionaries(st.sampled_from("12345"), st.builds(Assignment, anyone, anyone, st.booleans()))
    able = frozenset(draw(st.sets(st.sampled_from(nodes))))
    return Membership(able, draw(st.booleans())), draw(telescopes), policy


@given(situations())
def test_leaves_no_telescope_alone_and_moves_none_without_need(situation):
    membership, assignments, policy = situation
    moves = {move.telescope: move for move in plan(membership, assignments, policy)}
    for telescope, now in assignments.items():
        move = moves.get(telescope)
        if move and move.to:
            assert move.to in membership.able
            assert move.to != now.holder or move.kind == "provisional"
        if membership.quorum:
            assert not membership.able or (move.to if move else now.holder) in membership.able
            if move and now.holder in membership.able:
                assert (move.kind, move.to) == ("return", now.owner)
                assert not now.pinned
        elif now.owner in membership.able:
            assert (move.to if move else now.holder) == now.owner


@given(situations())
def test_settles_after_one_round(situation):
    membership, assignments, policy = situation
    if membership.quorum:
        after = dict(assignments)
        for move in plan(membership, assignments, policy):
            after[move.telescope] = Assignment(move.to if move.permanent else after[move.telescope].owner, move.to)
        assert plan(membership, after, policy) == []


def test_the_line_names_everybody_once():
    for mode in ("cyclic", "redundant"):
        policy = Policy(("A", "B", "C", "D"), frozenset("D"), mode)
        for owner in (*policy.nodes, "Z"):
            named = list(line(owner, policy))
            assert named[0] == owner
            assert sorted(named) == sorted({*policy.nodes, owner})
