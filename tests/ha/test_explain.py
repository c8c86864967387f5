"""`ast3ctl ha` tells what is so, at any moment of any history."""

import json

import pytest

from ha import explain
from tests.ha.simulation.faults import strike
from tests.ha.simulation.world import Setup, World

STATUS = {"node", "mode", "quorum", "nodes", "telescopes", "lease", "problems"}
NODE = {"state", "lease", "witness", "reason"}
TELESCOPE = {"owner", "holder", "token", "epoch", "array", "flaps", "works_here", "backup"}


def told(world, name):
    node = world.nodes[name]
    return explain.status(node.state, world.now + node.offset)


def cluster(**setup):
    world = World(1, Setup(**setup))
    world.run(14.0)
    return world


@pytest.mark.parametrize("seed", range(4))
def test_at_any_moment_the_status_has_all_its_fields(seed):
    world = World(seed, Setup(nodes=3 + seed % 2, mode=("cyclic", "redundant")[seed % 2]))
    for step in range(60):
        if step % 10 == 9:
            strike(world)
        world.run(world.now + 1.0)
        for name, node in world.nodes.items():
            status = told(world, name)
            assert json.loads(json.dumps(status)) == status
            assert set(status) == STATUS
            assert all(set(about) == NODE for about in status["nodes"].values())
            assert all(set(about) > TELESCOPE for about in status["telescopes"].values())
            assert all(about["backup"] != about["holder"] for about in status["telescopes"].values())
            planned = explain.what_if(node.state, [], world.now + node.offset)
            assert {move["telescope"] for move in planned["moves"]} <= set(world.telescopes)


def test_a_calm_cluster_has_nothing_to_complain_of():
    status = told(cluster(), "A")
    assert (status["quorum"], status["problems"]) == (True, [])
    assert {name: about["state"] for name, about in status["nodes"].items()} == dict.fromkeys("ABC", "able")
    assert [(about["owner"], about["holder"], about["backup"]) for about in status["telescopes"].values()] == [
        ("A", "A", "B"), ("B", "B", "C"), ("C", "C", "A")
    ]  # fmt: skip
    assert [about["works_here"] for about in status["telescopes"].values()] == [True, False, False]


def test_who_is_gone_and_when_it_goes_back_is_told():
    world = cluster()
    world.nodes["A"].cut()
    world.run(world.now + 20.0)
    status = told(world, "B")
    assert status["nodes"]["A"]["state"] == "gone"
    assert status["nodes"]["A"]["witness"] == "silent"
    about = status["telescopes"]["a0"]
    assert (about["holder"], about["works_here"], about["returns_in_seconds"]) == ("B", True, None)
    assert about["why"] == "A lost its lease and does not answer"
    assert any(problem.startswith("A does not answer on the second path") for problem in status["problems"])
    world.nodes["A"].restart(world.now)
    world.run(world.now + 8.0)
    assert 0.0 < told(world, "B")["telescopes"]["a0"]["returns_in_seconds"] < 15.0


def test_without_etcd_it_says_so_and_that_own_work_goes_on():
    world = cluster()
    world.blocked_until = world.now + 60.0
    world.run(world.now + 20.0)
    status = told(world, "A")
    assert not status["quorum"]
    assert any("own work goes on" in problem for problem in status["problems"])
    assert status["telescopes"]["a0"]["works_here"]


def test_what_if_names_who_would_work_and_what_nobody_would():
    node = cluster(nodes=4).nodes["A"]
    now = node.state.view.at
    one = explain.what_if(node.state, ["B"], now)
    assert one["moves"] == [{"telescope": "b0", "from": "B", "to": "C", "kind": "takeover"}]
    assert (one["able"], one["nobody"]) == (["A", "C", "D"], [])
    assert [move["to"] for move in explain.what_if(node.state, ["B", "C"], now)["moves"]] == ["D", "D"]
    assert explain.what_if(node.state, list("ABCD"), now)["nobody"] == ["a0", "b0", "c0", "d0"]
    assert explain.what_if(node.state, [], now)["moves"] == []
