import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast3d.assign import claims_of
from ast3d.claim import Claim

CLAIM = {"epoch": 1, "token": 17, "own": True, "deadline": None}


def test_what_the_agent_says():
    foreign = CLAIM | {"own": False, "deadline": 12}
    assert claims_of({"boot": "b", "claims": {"ast3-1": CLAIM, "t": foreign}}) == (
        "b",
        {"ast3-1": Claim(1, 17, own=True), "t": Claim(1, 17, own=False, deadline=12.0)},
    )
    assert claims_of({"boot": "b", "claims": {}}) == ("b", {})
    assert claims_of({"boot": "b", "claims": {"t": CLAIM | {"deadline": 3.5}}})[1]["t"].deadline == 3.5


@pytest.mark.parametrize(
    "args",
    [
        {},
        {"boot": "b"},
        {"boot": "", "claims": {}},
        {"boot": 1, "claims": {}},
        {"boot": "b", "claims": []},
        {"boot": "b", "claims": {}, "more": 1},
        {"boot": "b", "claims": {f"t{n}": CLAIM for n in range(65)}},
        {"boot": "b", "claims": {"../t": CLAIM}},
        {"boot": "b", "claims": {".t": CLAIM}},
        {"boot": "b", "claims": {"t": None}},
        {"boot": "b", "claims": {"t": CLAIM | {"more": 1}}},
        {"boot": "b", "claims": {"t": {"epoch": 1, "token": 2, "own": True}}},
        {"boot": "b", "claims": {"t": CLAIM | {"epoch": True}}},
        {"boot": "b", "claims": {"t": CLAIM | {"epoch": 1.0}}},
        {"boot": "b", "claims": {"t": CLAIM | {"token": -1}}},
        {"boot": "b", "claims": {"t": CLAIM | {"token": 1 << 63}}},
        {"boot": "b", "claims": {"t": CLAIM | {"own": 1}}},
        {"boot": "b", "claims": {"t": CLAIM | {"deadline": "1"}}},
        {"boot": "b", "claims": {"t": CLAIM | {"deadline": True}}},
        {"boot": "b", "claims": {"t": CLAIM | {"deadline": float("inf")}}},
        {"boot": "b", "claims": {"t": CLAIM | {"deadline": float("nan")}}},
        {"boot": "b", "claims": {"t": CLAIM | {"deadline": 10**400}}},
        {"boot": "b", "claims": {"t": CLAIM | {"own": False}}},
    ],
)
def test_anything_else_is_refused_in_one_line(args):
    with pytest.raises(ValueError, match=r"^[ -~]+$"):
        claims_of(args)


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
anything = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@settings(deadline=None)  # what is looked for is another error, not time
@given(anything, anything, st.text())
def test_nothing_raises_anything_else(boot, told, name):
    for claims in (told, {name: told}, {"t": dict.fromkeys(CLAIM, told)}, {name: CLAIM}):
        try:
            found = claims_of({"boot": boot, "claims": claims})[1]
        except ValueError:
            continue
        assert all(claim.own or claim.deadline is not None for claim in found.values())
