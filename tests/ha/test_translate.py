"""What stands in etcd and in the state file is read whatever it is, and what is written is read back."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast3d.common.config import load_lenient
from ha import explain, translate
from ha import inputs as i
from ha.cluster import Home, Order, Ownership, Presence, Settings
from ha.decide import act, decide
from ha.fold import apply
from ha.keys import (
    MOST,
    order_key,
    presence_key,
    read_view,
    telescope_key,
    write_order,
    write_ownership,
    write_presence,
)
from ha.plan import Policy
from ha.state import State

TEXT = st.text(st.characters(exclude_categories=()))  # half surrogate pairs too: JSON can carry them
COUNT = st.integers(-(2**70), 2**70)
OWNERSHIPS = st.builds(
    Ownership, TEXT, st.integers(0, MOST), TEXT, st.integers(0, MOST), TEXT, st.integers(0, 2**40), st.booleans()
)  # fmt: skip
ORDERS = st.builds(Order, TEXT, st.booleans(), st.booleans(), st.integers(0, 2**63))
ANYTHING = st.recursive(
    st.none() | st.booleans() | COUNT | st.floats() | TEXT | st.sampled_from("AB"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("owner", "holder", "epoch", "flaps", "why", "pinned", "able", "reason", "to", "permanent", "token")
SAID = st.dictionaries(st.sampled_from(FIELDS), ANYTHING)
LIKELY = st.builds(
    lambda said, more: said | more,
    SAID,
    st.sampled_from(
        (
            {"owner": "A", "holder": "B", "epoch": 1, "flaps": 0},
            {"able": True},
            {"to": "B"},
            {"owner": "Z", "holder": "", "epoch": 0, "flaps": 10**9},
        )
    ),
)
VALUES = (SAID | LIKELY | ANYTHING).map(json.dumps) | TEXT | st.sampled_from(("[" * 100_000, "9" * 5000, "1e999", "{"))
NAMES = st.sampled_from(("tel/t1", "tel/t2", "node/A", "node/B", "order/t1", "tel/", "else", "")) | TEXT
ENTRIES = st.dictionaries(NAMES, st.tuples(VALUES, st.integers(1, 2**63)), max_size=8)
SETTINGS = Settings("A", Policy(("A", "B", "C")), {"t1": Home("A", "north"), "t2": Home("B")})


@given(ENTRIES)
def test_whatever_stands_in_etcd_the_agent_goes_on(entries):
    state = State()
    now = 100.0
    view = read_view(now, entries)
    for told in (
        i.AgentBegan(now - 60.0, {}),
        i.ConfigurationRead(now - 60.0, SETTINGS),
        i.RoundEnded(now - 1.0, {}),
        i.Cycled(now, 7, gone=False, granted=True, renewed_at=now, view=view, problem=""),
        i.Tick(now + 0.1),
        i.Handover(now + 0.2, 1, "A", "B", permanent=True),
        i.Handback(now + 0.3, 2, "A"),
        i.Cycled(now + 1, 7, gone=False, granted=False, renewed_at=now, view=view, problem=""),
    ):
        facts, _ = decide(state, told)
        for fact in facts:
            apply(state, fact)
        for doing in act(state, told.now):
            if hasattr(doing, "changes"):
                json.dumps(translate.cycle_order(doing, "A", 1))
        json.dumps([explain.status(state, told.now), explain.what_if(state, ["B"], told.now)])
    assert {name for name in view.telescopes if f"tel/{name}" not in entries} == set()


@given(st.dictionaries(TEXT.filter(bool), OWNERSHIPS, max_size=3), st.dictionaries(TEXT.filter(bool), ORDERS, max_size=3))
def test_what_is_written_into_etcd_is_read_back(telescopes, orders):
    entries = {telescope_key(name): (write_ownership(known), known.token) for name, known in telescopes.items()}
    entries |= {order_key(name): (write_order(order), order.revision) for name, order in orders.items()}
    entries |= {presence_key("A"): (write_presence(Presence(False, "no\ndisk", frozenset(telescopes))), 3)}
    view = read_view(5.0, entries)
    assert (view.at, view.telescopes, view.orders) == (5.0, telescopes, orders)
    assert view.presences == {"A": Presence(False, "no\ndisk", frozenset(telescopes))}


@given(st.dictionaries(TEXT, OWNERSHIPS, max_size=4))
def test_what_is_remembered_is_recalled(telescopes):
    assert translate.recall(translate.remember(telescopes)) == telescopes


@given(st.binary() | VALUES.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_a_state_file_of_nonsense_is_a_value_error_at_most(data):
    try:
        assert isinstance(translate.recall(data), dict)
    except ValueError:
        return


@given(st.dictionaries(TEXT, LIKELY | SAID | ANYTHING, max_size=3))
def test_of_a_state_file_what_can_be_understood_is_recalled(damaged):
    good = Ownership("A", 1, "B", 5)
    told = json.loads(translate.remember({"good": good}))
    told["telescopes"] |= {f"bad{name}": said for name, said in damaged.items()}
    assert translate.recall(json.dumps(told).encode())["good"] == good


@pytest.mark.parametrize("token", [math.inf, math.nan, None, "5", True, 1.5])
def test_a_token_that_is_no_number_is_not_believed(token):
    told = json.loads(translate.remember({"t1": Ownership("A", 1, "B", 5)}))
    told["telescopes"]["t1"]["token"] = token
    assert translate.recall(json.dumps(told).encode()) == {}


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"3", b"{}", b'{"telescopes": 3}', b'{"telescopes": []}', b"\xff", b"[" * 100_000]
)
def test_a_state_file_that_is_none_is_said_to_be_none(data):
    with pytest.raises(ValueError, match=r"\S"):
        translate.recall(data)


def test_the_configuration_as_the_helpers_and_decisions_need_it(tmp_path):
    file = tmp_path / "ast3d.yaml"
    file.write_text(
        "telescopes: {t1: {node: a, array: north}, t2: {node: b}}\n"
        "nodes: {a: {address: '10.0.0.1:1'}, b: {address: '10.0.0.2:2'}, c: {address: '10.0.0.3:3', spare: true}}\n"
        "ha: {node: a, mode: redundant, takeover: permanent, no_quorum: park, etcd: ['http://10.0.0.1:2379'],"
        " key_file: /k, lease_seconds: 9}\n...\n"
    )
    config, complaints = load_lenient(file)
    assert complaints == []
    settings = translate.settings_of(config)
    assert settings.policy == Policy(("a", "b", "c"), frozenset("c"), "redundant", "permanent", "park")
    assert settings.telescopes == {"t1": Home("a", "north"), "t2": Home("b")}
    assert (settings.node, settings.lease_seconds) == ("a", 9)
    asked = translate.probe_order(config, 1.0)["ask"]
    assert asked == {
        "me": "a", "peers": {"b": "10.0.0.2:2", "c": "10.0.0.3:3"}, "key_file": "/k", "serial": None, "period": 1.0
    }  # fmt: skip
    assert translate.store_order(config)["etcd"]["endpoints"] == ["http://10.0.0.1:2379"]
