"""Which telescopes this node works for, and what follows from a claim that comes, goes, lapses or is fenced.  Pure.

Without `ha.node` it works for all its telescopes and nothing here does anything.  With it, it works for the telescopes that
it has a claim for: those that ast3-ha told last; until that speaks, the own ones of the last assignment; and before there
was any, those that the configuration says are this node's.  A claim whose deadline has passed, or whose work a fence kept
out, is held and not worked for: nothing starts, and what runs goes on.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from ast3d import claim_records as c
from ast3d import effects, records
from ast3d import inputs as i
from ast3d.claim import Assignment, Claim
from ast3d.policy import Policy
from ast3d.state import State
from ast3d.task import Failure, Task

Step = records.Record | effects.Effect
Standing = Literal["working", "parked", "fenced"]

RELEASED_AT_ONCE = 500  # tasks a record


def held(state: State) -> frozenset[str] | None:
    """The telescopes whose frames are this node's business; None: all."""
    return _held(state.policy, state.claims.held) if state.policy.node else None


def holds(state: State, telescope: str) -> bool:
    """Whether the telescope's frames are this node's business."""
    return not state.policy.node or (telescope in state.claims.held and telescope in state.policy.telescopes)


def standing(state: State, telescope: str, now: float) -> Standing:
    """How it is with a claim that is held."""
    if is_fenced(state, telescope):
        return "fenced"
    return "parked" if state.claims.held[telescope].lapsed(now) else "working"


def is_fenced(state: State, telescope: str) -> bool:
    """Whether a fence kept out the work of the claim that is held."""
    return state.claims.held[telescope].rank <= state.claims.refused.get(telescope, (-1, -1))


def working(state: State, now: float) -> frozenset[str]:
    """The telescopes that work may start for, where there are other nodes."""
    return frozenset(name for name in held(state) or () if standing(state, name, now) == "working")


def turns(state: State, now: float) -> list[frozenset[str] | None]:
    """The telescopes that work may start for, those that come first by themselves: own, foreign.  None: all alike."""
    if not state.policy.node:
        return [None]
    names = working(state, now)
    own = frozenset(name for name in names if state.claims.held[name].own)
    return [own, names - own]


def claim_of(state: State, telescope: str) -> Claim | None:
    """What a worker publishes under; None where there is only this node."""
    return state.claims.held.get(telescope) if state.policy.node else None


def retried(state: State, policy: Policy, now: float) -> dict[str, str] | None:
    """The telescopes whose quarantined frames may be tried again, with what they are worked on with today; None: all."""
    if not policy.node:
        return policy.fingerprints or None
    return {name: policy.fingerprint_of(name) for name in sorted(working(state, now))}


# --- what the configuration and the agent say


def configure(state: State, policy: Policy) -> Iterator[Step]:
    """The configuration was read."""
    claims = state.claims
    if not policy.node:
        if state.policy.node:
            yield c.Claimed({}, heard=False)
        return
    heard = claims.heard and policy.node == state.policy.node
    told = claims.held if heard else _at_boot(policy, claims.assignment)
    yield c.Claimed(told, heard)
    if heard:
        yield from _release(state, _held(policy, told))
    yield effects.Watch()


def _at_boot(policy: Policy, assignment: Assignment | None) -> dict[str, Claim]:
    """Before the agent has spoken: own work needs nobody's leave."""
    if assignment is None or assignment.node != policy.node:
        return {name: Claim(0, 0, own=True) for name in sorted(policy.home)}
    return {name: Claim(epoch, token, own=True) for name, (epoch, token) in assignment.own.items()}


def assign(state: State, given: i.Assigned) -> Iterator[Step]:
    """The agent tells all that this node works for, and is told how it goes."""
    node = state.policy.node
    if not node or given.boot_id != state.boot_id:
        wrong = "ha.node is not set: it works for all its telescopes" if not node else "its deadlines are of another boot"
        yield effects.Reply(given.request, None, f"assign: refused, {wrong}")
        return
    assignment = Assignment(node, {name: claim.rank for name, claim in given.claims.items() if claim.own})
    if assignment != state.claims.assignment:
        yield c.Owned(assignment)
    before, after = held(state), _held(state.policy, given.claims)
    yield c.Claimed(given.claims, heard=True)
    yield from _tell_changes(state, given.claims)
    if before != after:
        yield effects.Watch()
    if before != after or not state.claims.heard:
        yield from _release(state, after)
    yield effects.Reply(given.request, _answer(state, given.claims, after))


def _held(policy: Policy, claims: Iterable[str]) -> frozenset[str]:
    """A telescope that is claimed before it is configured waits for that."""
    return policy.telescopes.intersection(claims)


def _tell_changes(state: State, claims: dict[str, Claim]) -> Iterator[Step]:
    before = state.claims.held
    for name, claim in claims.items():
        was = before.get(name)
        if was is None or (was.own, was.rank) != (claim.own, claim.rank):
            fields = {"telescope": name, "own": claim.own, "epoch": claim.epoch, "token": claim.token}
            yield effects.Log("INFO", "telescope.claimed", fields)
    for name in before.keys() - claims.keys():
        running = sum(task.entry.place.telescope == name for task in state.within("RUNNING"))
        yield effects.Log("INFO", "telescope.left", {"telescope": name, "running": running})


def _release(state: State, names: frozenset[str]) -> Iterator[Step]:
    """What waits and is of other telescopes than these is another node's; what runs goes on."""
    others = [task.id for task in state.within("READY", "FAILED") if task.entry.place.telescope not in names]
    yield from _released(others)
    yield from (records.Unseen(place) for place in state.waiting if place.telescope not in names)


def _released(tasks: list[str]) -> Iterator[Step]:
    for start in range(0, len(tasks), RELEASED_AT_ONCE):
        yield c.Released(tuple(tasks[start : start + RELEASED_AT_ONCE]))


def _answer(state: State, claims: dict[str, Claim], names: frozenset[str]) -> dict[str, Any]:
    """What the agent learns: see `assign` in docs/architecture.md."""
    running = Counter(task.entry.place.telescope for task in state.within("RUNNING"))
    waiting = Counter(task.entry.place.telescope for task in state.within("READY", "FAILED"))
    told = state.claims
    fenced = {name: rank for name, rank in told.refused.items() if name in claims and claims[name].rank <= rank}
    return {
        "served": told.served,
        "ill": told.ill,
        "broken": state.relog_problem,
        "running": {name: running[name] for name in sorted({*claims, *running})},
        "waiting": {name: waiting[name] * (name in names) for name in sorted({*claims, *running})},
        "fenced": {name: list(rank) for name, rank in fenced.items()},
    }


# --- as time passes


def tend(state: State, now: float) -> Iterator[Step]:
    """At each Tick: deadlines that have passed, what failed for a telescope that has gone."""
    if not state.policy.node:
        return
    claims = state.claims
    for name, claim in claims.held.items():
        late = claim.lapsed(now)
        if late and name not in claims.parked:
            yield c.Parked(name, parked=True)
            so = "nothing starts for it until ast3-ha says so; what runs goes on"
            yield effects.Log("ERROR", "telescope.parked", {"telescope": name, "token": claim.token, "so": so})
        elif not late and name in claims.parked:
            yield c.Parked(name, parked=False)
            yield effects.Log("INFO", "telescope.resumed", {"telescope": name, "token": claim.token})
    if claims.heard:
        yield from _released([task.id for task in state.within("FAILED") if not holds(state, task.entry.place.telescope)])


def next_due(state: State) -> Iterator[float]:
    """The deadlines."""
    if state.policy.node:
        yield from (claim.deadline for claim in state.claims.held.values() if claim.deadline is not None)


# --- what becomes of workers and frames


def credit(state: State, failure: Failure | None = None) -> Iterator[Step]:
    """An attempt has ended, in products or in a failure: is the machine well?"""
    if not state.policy.node:
        return
    if failure is None or failure.counts:
        yield c.Served()
    else:
        yield c.Sickened(failure.reason)


def refuse(state: State, task: Task, rank: tuple[int, int], now: float) -> Iterator[Step]:
    """The fence kept the products of an attempt out: its claim is no longer worked under."""
    name = task.entry.place.telescope
    yield c.Returned(now, task.id)
    if not holds(state, name):
        yield c.Released((task.id,))
    claim = state.claims.held.get(name)
    if rank > state.claims.refused.get(name, (-1, -1)) and claim and claim.rank <= rank:
        yield c.Fenced(name, *rank)
        so = "nothing starts for it until ast3-ha assigns it anew; `ast3ctl ha status` says who works for it"
        fields = {"telescope": name, "epoch": rank[0], "token": rank[1], "own": claim.own, "so": so}
        yield effects.Log("ERROR", "telescope.fenced", fields)


def miss(state: State, task: Task, reason: str) -> effects.Effect:
    """A frame has left the pool without us: another node may have finished it, which its products tell."""
    if state.policy.node:
        return effects.Seek(task.id, task.entry.place, reason)
    return effects.Log("ERROR", "task.vanished", {"task": task.id, "reason": reason})


def find(given: i.Sought) -> effects.Log:
    """The scout has looked where a frame went that left the pool."""
    if given.where:
        return effects.Log("INFO", "task.elsewhere", {"task": given.task, "where": given.where})
    return effects.Log("ERROR", "task.vanished", {"task": given.task, "reason": given.reason})
