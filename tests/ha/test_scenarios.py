"""What an operator is promised, each as one simulated story: the agents are ast3's own."""

import json

import pytest

from ha import effects, explain
from ha import inputs as i
from ha.courier import cycle
from ha.keys import read_view
from ha.store import StoreFullError
from tests.ha.simulation.node import SLOTS, Node
from tests.ha.simulation.world import Door, Setup, World

CALM = 14.0


def cluster(seed=1, **setup):
    world = World(seed, Setup(**setup))
    world.run(CALM)
    assert holders(world) == homes(world)
    return world


def view(world):
    return read_view(0.0, {key: (entry.value, entry.revision) for key, entry in world.store.entries.items()})


def holders(world):
    return {telescope: known.holder for telescope, known in view(world).telescopes.items()}


def homes(world):
    return {name: home.node for name, home in world.setup.settings("A").telescopes.items()}


def working(world):
    """Who works for what."""
    return {
        telescope: "".join(name for name, node in world.nodes.items() if telescope in node.active(world.now))
        for telescope in world.telescopes
    }


def run(world, seconds):
    world.run(world.now + seconds)


def until(world, true, most):
    """Seconds until something is so."""
    began = world.now
    while not true():
        assert world.now - began < most, (holders(world), working(world))
        run(world, 0.25)
    return world.now - began


def order(world, node, given):
    """What an operator is answered by a node."""
    replies = []
    agent = world.nodes[node]
    hear = agent.hear

    def listen(asked):
        from ha.decide import decide

        replies.extend(doing for doing in decide(agent.state, asked)[1] if isinstance(doing, effects.Reply))
        hear(asked)

    listen(given(world.now + agent.offset))
    return replies[0]


def logged(world, event):
    return [line for node in world.nodes.values() for line in node.log if f" {event} " in line]


class TestANodeDies:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("mode", ["cyclic", "redundant"])
    @pytest.mark.parametrize("dead", ["A", "B", "C"])
    def test_its_telescope_is_worked_for_elsewhere_within_20_s_and_comes_back(self, seed, mode, dead):
        world = cluster(seed, nodes=4, mode=mode)
        before = view(world).telescopes
        world.nodes[dead].cut()
        telescope, next_ = f"{dead.lower()}0", "D" if mode == "redundant" else chr(ord(dead) + 1)
        assert until(world, lambda: working(world)[telescope] == next_, 20.0) > 3.0
        assert view(world).telescopes[telescope].token > before[telescope].token
        assert {t: h for t, h in working(world).items() if t != telescope} == {
            t: h for t, h in homes(world).items() if t != telescope
        }
        world.nodes[dead].restart(world.now)
        run(world, 8.0)
        assert holders(world)[telescope] == next_, "it has not been well for long enough"
        until(world, lambda: working(world) == homes(world), 30.0)

    def test_a_second_death_moves_on_along_the_ring(self):
        world = cluster(nodes=4)
        world.nodes["C"].cut()
        until(world, lambda: working(world)["c0"] == "D", 20.0)
        world.nodes["D"].cut()
        until(world, lambda: (working(world)["c0"], working(world)["d0"]) == ("A", "A"), 20.0)

    def test_the_next_in_the_ring_is_passed_over_where_it_cannot_work_itself(self):
        world = cluster(nodes=4)
        world.nodes["B"].ast3d.up = False
        until(world, lambda: working(world)["b0"] == "C", 40.0)
        world.nodes["A"].cut()
        until(world, lambda: working(world)["a0"] == "C", 20.0)

    def test_two_that_take_over_one_after_the_other_do_not_both_have_it(self):
        """A means to, and its courier is held up until B has done so."""
        world = cluster(nodes=4)
        held, visit = [], world.visit

        def hold(node, order):
            late = node.name == "A" and any("tel/d0" in txn["put"] for txn in order["txns"])
            held.append((node, order)) if late else visit(node, order)

        world.visit = hold
        world.nodes["D"].cut()
        until(world, lambda: held, 20.0)
        world.nodes["A"].cut()
        until(world, lambda: holders(world)["d0"] == "B", 20.0)
        node, order = held[0]
        assert cycle(Door(world, "A"), order, lambda: world.now + node.offset)["done"] == [False]
        assert holders(world)["d0"] == "B"

    def test_after_a_power_cut_of_all_who_is_up_first_takes_nothing_from_the_rest(self):
        world = cluster()
        for node in world.nodes.values():
            node.cut()
        run(world, 60.0)
        for name in "BCA":
            world.nodes[name].restart(world.now)
            run(world, 3.0)
        run(world, 10.0)
        assert working(world) == homes(world)
        assert not logged(world, "ha.took")

    def test_what_nobody_can_take_waits_for_its_owner(self):
        world = cluster(no_quorum="park")
        for dead in "BC":
            world.nodes[dead].cut()
        run(world, 30.0)
        assert working(world) == {"a0": "A", "b0": "", "c0": ""}

    def test_without_quorum_who_is_left_works_for_all_if_the_site_wants_it_so(self):
        world = cluster(no_quorum="provisional")
        for dead in "BC":
            world.nodes[dead].cut()
        assert working(world)["a0"] == "A", "own work goes on at once"
        until(world, lambda: working(world) == {"a0": "A", "b0": "A", "c0": "A"}, 20.0)
        world.nodes["C"].restart(world.now)
        until(world, lambda: working(world)["c0"] == "C", 30.0)


class TestEtcdIsWrong:
    @pytest.mark.parametrize("seed", range(40))
    def test_leases_that_are_lost_without_reason_move_nothing(self, seed):
        world = cluster(seed, nodes=3 + seed % 2, mode=("cyclic", "redundant")[seed // 2 % 2])
        for _ in range(6):
            world.lie(world.rng.random())
            run(world, world.rng.uniform(0.5, 8.0))
            assert holders(world) == homes(world)
        run(world, 10.0)
        assert holders(world) == homes(world)
        gaps = [node.state.last_gap for node in world.nodes.values() if node.state.regrants]
        assert gaps
        assert max(gaps) <= 1.0

    def test_a_lost_lease_costs_a_backup_no_work(self):
        world = cluster()
        world.nodes["A"].cut()
        until(world, lambda: working(world)["a0"] == "B", 20.0)
        world.lie(1.0)
        for _ in range(12):
            run(world, 0.5)
            assert working(world)["a0"] == "B"

    def test_etcd_that_has_forgotten_everything_is_told_again_and_no_token_comes_twice(self):
        world = cluster()
        world.nodes["A"].cut()
        until(world, lambda: working(world)["a0"] == "B", 20.0)
        before = view(world).telescopes["a0"]
        world.store.entries.clear()
        world.store.leases.clear()
        world.store.revision = 0
        run(world, 10.0)
        after = view(world).telescopes["a0"]
        assert (after.owner, after.holder) == ("A", "B")
        assert (after.epoch, after.token) > (before.epoch, before.token)
        assert after.epoch == before.epoch + 1

    def test_what_stands_there_wrongly_is_as_if_it_did_not(self):
        world = cluster()
        for key in ("tel/a0", "node/B", "order/c0", "else"):
            world.store.txn({}, {key: "{nonsense"})
        run(world, 10.0)
        assert working(world) == homes(world)


class TestANodeIsCutOff:
    def test_own_work_goes_on_and_another_takes_over_what_it_must_think_dead(self):
        world = cluster(no_quorum="park")
        world.cut |= {(a, b) for a in "ABC" for b in "ABC" if (a == "A") != (b == "A")}
        until(world, lambda: working(world)["a0"] == "AB", 20.0)
        run(world, 10.0)
        assert working(world) == {"a0": "AB", "b0": "B", "c0": "C"}
        world.cut.clear()
        until(world, lambda: working(world)["a0"] == "B", 10.0)
        until(world, lambda: working(world)["a0"] == "A", 40.0)
        assert world.sky.accepted

    def test_who_answers_on_the_second_path_keeps_its_own(self):
        """B reaches no member of etcd but its own, which has no quorum; A, which is not a member here, hears it."""
        world = cluster(nodes=4, mode="redundant")
        world.cut |= {(x, y) for x, y in [("D", "A"), ("D", "B"), ("A", "D"), ("B", "D")]}
        world.cut |= {("D", "C"), ("C", "D")}
        run(world, 20.0)
        assert holders(world) == homes(world), "a spare one has nothing to lose"

    def test_who_has_lost_etcd_alone_and_answers_the_next_in_line_loses_nothing(self):
        """B reaches no member but its own, which has no quorum; D, which takes its telescopes first, hears it."""
        world = cluster(nodes=4, mode="redundant")
        world.cut |= {("B", "A"), ("A", "B"), ("B", "C"), ("C", "B")}
        for _ in range(40):
            run(world, 1.0)
            assert holders(world) == homes(world) == working(world)
        assert "node/B" not in world.store.entries

    def test_an_agent_that_hung_after_it_was_given_a_lease_counts_from_when_it_asked(self):
        world = cluster(no_quorum="park")
        world.nodes["A"].cut()
        until(world, lambda: working(world)["a0"] == "B", 20.0)
        backup, renewed = world.nodes["B"], world.nodes["B"].renewed
        while backup.renewed == renewed:
            run(world, 0.001)
        backup.paused_until = world.now + 5.0  # the answer is on its way
        world.blocked_until = world.now + 60.0
        run(world, 3.0)
        assert working(world)["a0"] == "B"
        run(world, 3.01)  # as long as the lease lasts, and it is awake for one second
        for _ in range(5):
            assert working(world)["a0"] == ""
            run(world, 0.5)

    def test_another_telescope_is_parked_before_anybody_else_can_have_it(self):
        world = cluster(no_quorum="park")
        world.nodes["A"].cut()
        until(world, lambda: working(world)["a0"] == "B", 20.0)
        world.nodes["C"].cut()  # and the quorum with it
        run(world, 7.0)
        assert working(world)["a0"] == ""
        assert working(world)["b0"] == "B"


class TestANodeCannotWork:
    @pytest.mark.parametrize("how", ["ill", "down"])
    def test_it_loses_its_telescope_and_gets_it_back_when_able(self, how):
        world = cluster()
        ast3d = world.nodes["B"].ast3d
        setattr(ast3d, "ill" if how == "ill" else "up", how == "ill")
        until(world, lambda: working(world)["b0"] == "C", 40.0)
        world.nodes["B"].ast3d.ill, world.nodes["B"].ast3d.up = False, True
        until(world, lambda: working(world)["b0"] == "B", 60.0)

    def test_one_whose_work_nobody_else_can_do_says_once_that_it_cannot(self):
        world = cluster(no_quorum="park")
        for dead in "BC":
            world.nodes[dead].cut()
        world.nodes["A"].ast3d.ill = True
        run(world, 60.0)
        told = [event for event in ("ha.unable", "ha.able") for line in world.nodes["A"].log if f" {event} " in line]
        assert told == ["ha.unable", "ha.able"], "able at the start, and not since"

    def test_one_that_fails_again_whenever_it_gets_work_is_waited_for_ever_longer(self):
        world = cluster()
        world.nodes["B"].ast3d.ill = True
        until(world, lambda: holders(world)["b0"] == "C", 40.0)
        run(world, 600.0)
        flaps = view(world).telescopes["b0"].flaps
        assert 3 <= flaps <= 6
        assert len(logged(world, "ha.returned")) <= flaps


class TestReturns:
    def test_flapping_is_damped(self):
        world = cluster()
        for _ in range(10):
            world.nodes["A"].cut()
            run(world, 30.0)
            world.nodes["A"].restart(world.now)
            run(world, 30.0)
        assert view(world).telescopes["a0"].flaps <= 3
        assert len(logged(world, "ha.returned")) <= 3

    def test_what_was_taken_for_good_stays_also_for_one_that_boots_cut_off(self):
        world = cluster(takeover="permanent", no_quorum="park")
        world.cut |= {("A", "B"), ("B", "A"), ("A", "C"), ("C", "A")}
        until(world, lambda: view(world).telescopes["a0"].owner == "B", 20.0)
        assert view(world).telescopes["a0"].epoch == 2
        world.cut.clear()
        until(world, lambda: working(world)["a0"] == "B", 10.0)  # A knows by now
        world.nodes["A"].cut()
        world.cut |= {("A", "B"), ("B", "A"), ("A", "C"), ("C", "A")}
        world.nodes["A"].restart(world.now)
        for _ in range(40):
            run(world, 1.0)
            assert working(world)["a0"] == "B"

    def test_the_holder_hands_over_only_when_its_frames_have_ended(self):
        world = cluster()
        world.nodes["A"].cut()
        until(world, lambda: working(world)["a0"] == "B", 20.0)
        world.nodes["A"].restart(world.now)
        backup = world.nodes["B"]
        until(world, lambda: "a0" in backup.state.releasing, 40.0)
        while holders(world)["a0"] == "B":
            run(world, 0.05)
        assert not [work for work in backup.ast3d.work if work.telescope == "a0"]
        assert world.sky.doubly <= SLOTS  # at A's own start, before its agent had spoken


class TestOperators:
    def test_a_telescope_that_is_handed_over_stays_until_it_is_handed_back(self):
        world = cluster()
        reply = order(world, "C", lambda now: i.Handover(now, 1, "A", "B", permanent=False))
        assert reply.result["telescopes"] == ["a0"]
        until(world, lambda: working(world)["a0"] == "B", 15.0)
        run(world, 60.0)
        assert working(world)["a0"] == "B"
        assert (view(world).telescopes["a0"].owner, view(world).orders) == ("A", {})
        order(world, "A", lambda now: i.Handback(now, 2, "A"))
        until(world, lambda: working(world)["a0"] == "A", 15.0)
        run(world, 10.0)
        assert not view(world).telescopes["a0"].pinned

    def test_for_good_it_is_the_other_nodes_own(self):
        world = cluster()
        order(world, "A", lambda now: i.Handover(now, 1, "a0", "C", permanent=True))
        until(world, lambda: working(world)["a0"] == "C", 15.0)
        assert view(world).telescopes["a0"].owner == "C"
        assert view(world).telescopes["a0"].epoch == 2
        order(world, "B", lambda now: i.Handback(now, 2, "A"))
        until(world, lambda: working(world)["a0"] == "A", 15.0)
        assert (view(world).telescopes["a0"].owner, view(world).telescopes["a0"].epoch) == ("A", 3)

    def test_a_node_that_is_away_gets_it_when_it_is_back(self):
        world = cluster(takeover="permanent")
        world.nodes["A"].cut()
        until(world, lambda: working(world)["a0"] == "B", 20.0)
        reply = order(world, "B", lambda now: i.Handback(now, 1, "A"))
        assert "as soon as A is able" in reply.result["when"]
        for _ in range(40):
            run(world, 0.25)
            assert working(world)["a0"] == "B"
        world.nodes["A"].restart(world.now)
        until(world, lambda: working(world)["a0"] == "A", 20.0)

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            (lambda now: i.Handover(now, 1, "A", "Z", permanent=False), "Z is no node; there are A, B, C"),
            (lambda now: i.Handover(now, 1, "x9", "B", permanent=False), "x9 holds or is no telescope"),
            (lambda now: i.Handback(now, 1, "Z"), "Z is no node"),
        ],
    )
    def test_what_cannot_be_is_refused_in_words(self, given, words):
        assert words in order(cluster(), "A", given).error

    def test_nothing_is_promised_while_etcd_is_silent(self):
        world = cluster()
        world.blocked_until = world.now + 30.0
        run(world, 5.0)
        reply = order(world, "A", lambda now: i.Handover(now, 1, "A", "B", permanent=False))
        assert "etcd does not answer" in reply.error


def test_a_telescope_that_is_registered_disturbs_no_other():
    from dataclasses import replace

    from ha.cluster import Home

    world = cluster()
    before = view(world).telescopes
    for node in world.nodes.values():
        telescopes = {**node.settings.telescopes, "new": Home("C", "north")}
        node.settings = replace(node.settings, telescopes=telescopes)
        node.hear(i.ConfigurationRead(world.now + node.offset, node.settings))
    run(world, 5.0)
    after = view(world).telescopes
    assert (after.pop("new").holder, after) == ("C", before)
    assert json.loads(world.store.entries["tel/new"].value)["epoch"] == 1


def test_trouble_with_etcd_is_one_line_and_its_end_another():
    world = cluster()
    world.blocked_until = world.now + 30.0
    run(world, 28.0)
    assert len(logged(world, "ha.etcd.lost")) == 3, "one a node"
    run(world, 10.0)
    assert len(logged(world, "ha.etcd.back")) == 3
    assert len(logged(world, "ha.etcd.lost")) == 3
    world.blocked_until = world.now + 1.5  # it chooses a leader
    run(world, 10.0)
    assert len(logged(world, "ha.etcd.lost")) == 3


class TestEtcdIsRestored:
    def test_from_an_older_copy_it_is_told_what_was_known_and_every_claim_is_accepted(self):
        world = cluster()
        copy, revision = dict(world.store.entries), world.store.revision
        order(world, "A", lambda now: i.Handover(now, 1, "a0", "C", permanent=False))
        until(world, lambda: working(world)["a0"] == "C", 15.0)
        before = view(world).telescopes["a0"]
        run(world, 5.0)
        world.store.entries, world.store.revision = copy, revision
        world.store.leases.clear()
        run(world, 10.0)
        after = view(world).telescopes["a0"]
        assert after.rank > before.rank
        assert (after.holder, working(world)["a0"]) == ("C", "C")
        accepted = len(world.sky.accepted)
        run(world, 20.0)
        assert len(world.sky.accepted) > accepted + 10

    def test_emptied_and_told_first_by_one_that_knows_nothing_the_fence_is_caught_up_with(self):
        world = cluster()
        world.sky.fence["a0"] = (4, 99)  # of days that nobody remembers
        for node in world.nodes.values():
            node.disk.clear()
        world.store.entries.clear()
        world.store.leases.clear()
        for node in world.nodes.values():
            node.cut()
            node.restart(world.now)
        until(world, lambda: view(world).telescopes.get("a0") and view(world).telescopes["a0"].epoch >= 4, 40.0)
        accepted = {frame for telescope, frame in world.sky.accepted if telescope == "a0"}
        run(world, 20.0)
        assert {frame for telescope, frame in world.sky.accepted if telescope == "a0"} > accepted
        assert working(world)["a0"] == "A"


def test_a_handover_under_way_is_given_up_when_etcd_goes():
    world = cluster()
    for node in world.nodes.values():
        node.ast3d.sky = world.sky
    long_work = world.nodes["A"].ast3d
    order(world, "A", lambda now: i.Handover(now, 1, "A", "B", permanent=False))
    run(world, 2.5)
    if working(world)["a0"] == "":
        assert long_work
    world.blocked_until = world.now + 60.0
    run(world, 20.0)
    assert working(world)["a0"]


def test_a_telescope_that_its_holder_has_not_configured_goes_to_one_that_has():
    from dataclasses import replace

    world = cluster()
    order(world, "A", lambda now: i.Handover(now, 1, "a0", "B", permanent=False))
    until(world, lambda: working(world)["a0"] == "B", 15.0)
    backup = world.nodes["B"]
    known = {name: home for name, home in backup.settings.telescopes.items() if name != "a0"}
    backup.settings = replace(backup.settings, telescopes=known)
    backup.hear(i.ConfigurationRead(world.now + backup.offset, backup.settings))
    until(world, lambda: working(world)["a0"] == "A", 15.0)


def test_a_longer_lease_is_asked_for_and_not_believed_of_the_old_one():
    from dataclasses import replace

    world = cluster()
    node = world.nodes["A"]
    old = node.state.lease
    node.settings = replace(node.settings, lease_seconds=30)
    node.hear(i.ConfigurationRead(world.now + node.offset, node.settings))
    assert node.state.lease_until - (world.now + node.offset) <= 6.0
    run(world, 3.0)
    assert node.state.lease != old
    seconds, _ = world.store.leases[node.state.lease]
    assert seconds == 30


def test_an_order_that_cannot_be_carried_out_is_withdrawn_by_another():
    world = cluster()
    world.nodes["C"].cut()
    until(world, lambda: working(world)["c0"] == "A", 20.0)
    order(world, "A", lambda now: i.Handover(now, 1, "b0", "C", permanent=False))
    run(world, 5.0)
    assert view(world).orders["b0"].to == "C"
    assert working(world)["b0"] == "B"
    order(world, "B", lambda now: i.Handback(now, 2, "B"))
    until(world, lambda: "b0" not in view(world).orders, 10.0)
    world.nodes["C"].restart(world.now)
    run(world, 20.0)
    assert working(world)["b0"] == "B"


def test_two_nodes_of_one_name_are_told_so():
    world = cluster()
    twin = Node(world.setup.settings("A"), world.sky, world.rng)
    twin.offset = world.nodes["A"].offset + 5000.0
    twin.restart_agent(world.now)
    world.nodes["A2"] = twin
    world.after(0.3, lambda: world.tick("A2"))
    run(world, 12.0)
    assert {line.split()[1] for line in logged(world, "ha.namesake")} == {"A"}
    assert any(
        "says that it is A too" in problem for problem in explain.status(twin.state, world.now + twin.offset)["problems"]
    )
    twin.cut()
    run(world, 5.0)
    assert world.nodes["A"].state.usurped == 0


@pytest.mark.parametrize("seed", range(10))
def test_answers_that_are_lost_are_no_namesake(seed):
    world = cluster(seed)
    world.loss = 0.3
    run(world, 40.0)
    world.lie(1.0)
    run(world, 10.0)
    assert logged(world, "ha.namesake") == []


@pytest.mark.parametrize("verb", ["grant", "txn"])
def test_what_one_s_own_last_life_left_in_a_full_etcd_is_no_namesake(verb):
    world = cluster()

    def full(*_):
        raise StoreFullError("memory")

    setattr(world.store, verb, full)
    world.nodes["A"].restart_agent(world.now)
    run(world, 10.0)
    assert logged(world, "ha.namesake") == []
    assert any("memory" in line for line in logged(world, "ha.etcd.lost"))


def test_what_an_operator_wished_is_not_done_hours_later():
    world = cluster()
    order(world, "A", lambda now: i.Handover(now, 1, "A", "B", permanent=False))
    world.loss = 1.0  # every writing fails, and what it did is not known
    world.store.txn = lambda *_: (_ for _ in ()).throw(StoreFullError("memory"))
    run(world, 5.0)
    assert len(logged(world, "ha.order.lost")) == 1
    del world.store.txn
    world.loss = 0.0
    run(world, 20.0)
    assert holders(world) == homes(world)
