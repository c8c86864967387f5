"""etcd in trouble: a leader that pauses, a full disk, answers that come late, certificates that expired, a dead endpoint.

The adversary is Debian's etcd 3.4.23, which revokes live leases when a paused leader resumes.
"""

import time
from collections.abc import Callable

from bench.table import Row
from tests.cluster import etcd
from tests.cluster.cluster import Cluster
from tests.cluster.network import SUBNET
from tests.cluster.paper import CLIENT_PORT, Plan, endpoints
from tests.cluster.rows_power import THREE
from tests.cluster.stage import LATER_SECONDS, Stage, Take, Timed, kept_promises, moves, own_gaps

PAUSE_SECONDS = 9.0
CALM_SECONDS = 6.0
AGAIN_SECONDS = 1.0
HEAL_SECONDS = 30.0
FULL, SLOW, TLS = Plan(quota=etcd.QUOTA), Plan(slow=True), Plan(tls=True)
_ADDRESSES = {name: f"{SUBNET}.{number}" for number, name in enumerate(THREE.nodes, 1)}
DEAD = Plan(ha={"etcd": [f"http://{SUBNET}.200:{CLIENT_PORT}", *endpoints(THREE, _ADDRESSES)]})


def leader_paused(stage: Stage) -> list[Row]:
    """Stopped for 9 s, a lease and a half, and resumed."""
    figure, gone, again = "etcd's leader pauses 9 s", 0, []
    with stage.cluster(THREE) as (one, since):
        marks = {name: len(node.log("ast3-ha")) for name, node in one.nodes.items()}
        for number in range(stage.size.pauses):
            leader = etcd.leader(one.nodes)
            with etcd.paused(leader):
                time.sleep(PAUSE_SECONDS)
            time.sleep(CALM_SECONDS)
            stage.say(f"{figure}: {number + 1} of {leader.name}: moved {moves(one, one.runs(), since)}")
        for name, node in one.nodes.items():
            gone += len(node.events("ha.lease.gone", marks[name]))
            again += [float(line.fields["seconds"]) for line in node.events("ha.lease.again", marks[name])]
        moved = moves(one, one.runs(), since)
        n = f"n {stage.size.pauses}"
        slowest = max(again, default=0.0)
        gap = max(own_gaps(one, one.runs(), since, time.monotonic()).values())
        return [
            Row(f"{figure}: telescopes moved", "0", f"{n}: {len(moved)}; own gap {gap:.1f} s; seed {stage.seed}", not moved),
            Timed(
                f"{figure}: a lost lease is granted again",
                "<= 1 s after it was found gone",
                f"{gone} lost, {len(again)} again, slowest {slowest:.2f} s",
                gone == len(again) and slowest <= AGAIN_SECONDS,
            ),
            kept_promises(stage, one, figure, since),
        ]


def trouble(
    stage: Stage,
    figure: str,
    plan: Plan,
    begin: Callable[[Cluster], object],
    end: Callable[[Cluster], object],
    event: str = "ha.etcd.lost",
) -> list[Row]:
    """etcd is useless for a while: nobody's own work is hurt, each node says so in one line, and all heals by itself."""
    with stage.cluster(plan) as (one, since):
        marks = {name: len(node.log("ast3-ha")) for name, node in one.nodes.items()}
        at = time.monotonic()
        begin(one)
        time.sleep(stage.size.hold)
        said = {name: [line for line in node.log("ast3-ha")[marks[name] :] if line.level == "ERROR"]
                for name, node in one.nodes.items()}  # fmt: skip
        gap = max(own_gaps(one, one.runs(), at, time.monotonic()).values())
        moved = moves(one, one.runs(), at)
        end(one)
        healed = one.wait(lambda: all(_has_quorum(one, name) for name in one.nodes), "healed", HEAL_SECONDS + 30.0)
        one.at_home()
        after = _takeover(one, "t1") if stage.size.takeovers else 0.0
        lines = {name: len([line for line in words if line.event == event]) for name, words in said.items()}
        example = next((line.fields.get("reason", str(line.fields)) for w in said.values() for line in w), "nothing")
        stage.say(f"{figure}: own gap {gap:.1f} s, moved {moved}, lines {lines}: {example}")
        noise = max(len(words) for words in said.values())
        return [
            Timed(f"{figure}: own work", "no gap > 3 s, none moved", f"longest gap {gap:.1f} s, moved {moved}",
                gap <= 3.0 and not moved),
            Row(f"{figure}: what each node says", "one clear line",
                f"{noise} ERROR lines at most: {example[:80]}", noise == 1),
            Timed(f"{figure}: heals by itself", "<= 30 s, then takes over <= 20 s",
                f"{healed:.1f} s, {after:.1f} s", healed <= HEAL_SECONDS and after <= LATER_SECONDS),
            kept_promises(stage, one, figure, since),
        ]  # fmt: skip


def disk_full(stage: Stage) -> list[Row]:
    """The quota of all members is used up: reads and renewals go on, writes do not."""

    def begin(one: Cluster) -> None:
        etcd.fill(etcd.leader(one.nodes))
        for name in one.nodes:  # an agent that must write: it begins anew, and needs a lease
            one.nodes[name].signal("ast3-ha", 9)

    return trouble(stage, "etcd's disk is full", FULL, begin, lambda one: etcd.empty(one.nodes))


def answers_late(stage: Stage) -> list[Row]:
    """Each answer comes a second late."""

    def delay(seconds: float) -> Callable[[Cluster], object]:
        return lambda one: (one.site / "delay").write_text(str(seconds))

    return trouble(stage, "etcd answers after 1 s", SLOW, delay(1.0), delay(0.0))


def certificate_expired(stage: Stage) -> list[Row]:
    """Of all members at once, for they were made on the same day."""

    def change(which: str) -> Callable[[Cluster], None]:
        def do(one: Cluster) -> None:
            etcd.use_certificate(one.site / "tls", which)
            for node in etcd.members(one.nodes):
                node.signal("etcd", 9)  # connections of before would go on

        return do

    return trouble(stage, "etcd's certificates expired", TLS, change("expired"), change("server"))


def endpoint_dead(stage: Stage) -> list[Row]:
    """The first of the endpoints has never answered: nobody is hurt, and a takeover comes in time."""
    figure = "an endpoint of etcd is dead"
    with stage.cluster(DEAD) as (one, since):
        time.sleep(stage.size.hold)
        moved = moves(one, one.runs(), since)
        gap = max(own_gaps(one, one.runs(), since, time.monotonic()).values())
        quorum = [name for name in one.nodes if not _has_quorum(one, name)]
        after = _takeover(one, "t2")
        return [
            Timed(f"{figure}: own work", "no gap > 3 s, none moved, all have a quorum",
                f"longest gap {gap:.1f} s, moved {moved}, without {quorum}", gap <= 3.0 and not moved and not quorum),
            Timed(f"{figure}: a power cut's next frame", "<= 20 s", f"{after:.1f} s", after <= LATER_SECONDS),
            kept_promises(stage, one, figure, since),
        ]  # fmt: skip


def _takeover(one: Cluster, telescope: str) -> float:
    """-> how many seconds after its owner's power cut the next frame of a telescope begins."""
    owner = one.plan.owner(telescope)
    at = time.monotonic()
    one.nodes[owner].power_cut()
    after = one.moved(telescope, at, owner)
    one.calm()
    return after


def _has_quorum(one: Cluster, name: str) -> bool:
    told = one.nodes[name].ctl("ha", "status") or {}
    return bool(told.get("quorum")) and bool(told.get("lease", {}).get("id"))


ROWS: tuple[Take, ...] = (leader_paused, disk_full, answers_late, certificate_expired, endpoint_dead)
