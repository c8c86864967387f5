"""Who is able to work, as far as this node can tell.  Pure.

A lost lease is a suspicion, never proof: etcd loses leases that were renewed in time.  A node is given up only when its
lease is gone *and* it does not answer `able` on the second path; or when it says itself that it cannot work.
"""

from typing import Literal

from ha.cluster import Ownership, Presence
from ha.plan import Membership
from ha.state import NEVER, UNKNOWN, State

FRESH_SECONDS = 3.0  # what etcd said is acted upon for so long
GRACE_SECONDS = 1.0  # for a node to get another lease
SILENT_SECONDS = 3.0  # since a node was last asked with success on the second path
NAMESAKE_TIMES = 3  # that another puts this node's presence in a row, until it is taken for one
DEAF_SECONDS = 15.0  # that ast3d may give no answer: it is being started again
RECENT_SECONDS = 2.5  # since it got on, or had nothing to do: it is asked once a second
STEADY_SECONDS = 5.0  # that it must answer before it counts as able again

Seen = Literal["able", "unable", "gone", "unsure"]
Answers = Literal["able", "unable", "silent"]


def is_fresh(state: State, now: float) -> bool:
    """Whether etcd's word is new enough to act upon."""
    return state.view is not None and now - state.view.at < FRESH_SECONDS


def has_quorum(state: State, now: float) -> bool:
    """Whether etcd has answered lately, or may yet."""
    return now - max(state.view.at if state.view else NEVER, state.began) < state.settings.quorum_seconds


def answers(state: State, node: str, now: float) -> Answers:
    """What a node says on the second path."""
    standing = state.standings.get(node)
    if standing is None or now - standing.at > SILENT_SECONDS:
        return "silent"
    return "able" if standing.able else "unable"


def seen(state: State, node: str, now: float) -> Seen:
    """A node, by both ways.  unsure: etcd does not have it, and it is too early to say, or it answers all the same."""
    if node == state.settings.node:
        return "able" if state.able else "unable"
    presence = _presence(state, node)
    if presence:
        return "able" if presence.able else "unable"
    since = state.gone_since.get(node, state.began)
    if state.probed < since + GRACE_SECONDS:
        return "unsure"
    said = answers(state, node, now)
    return "unsure" if said == "able" else "gone" if said == "silent" else "unable"


def serves(state: State, telescope: str, ownership: Ownership, now: float) -> bool:
    """Whether a telescope's holder may be at work for it.  Without a lease one works for its own, and says what else."""
    holder = ownership.holder
    presence = _presence(state, holder)
    if presence and holder != state.settings.node:
        return presence.can(telescope)
    how = seen(state, holder, now)
    if how != "unsure" or holder == ownership.owner or answers(state, holder, now) != "able":
        return how in ("able", "unsure")
    return state.probed < state.gone_since.get(holder, state.began) + GRACE_SECONDS or _works(state, holder, telescope)


def _presence(state: State, node: str) -> Presence | None:
    return state.view.presences.get(node) if state.view else None


def _works(state: State, node: str, telescope: str) -> bool:
    standing = state.standings.get(node)
    return standing is not None and telescope in standing.works


def membership(state: State, telescope: str, ownership: Ownership, now: float) -> Membership:
    """Who can work for a telescope from now on: whoever etcd has; who has just lost its lease; and who does already.

    A node that etcd has not, for long, cannot be given another's telescope, whatever it answers.
    """
    able = {node for node in state.settings.policy.nodes if _may_take(state, node, telescope, now)}
    if serves(state, telescope, ownership, now):
        able.add(ownership.holder)
    else:
        able.discard(ownership.holder)
    return Membership(frozenset(able))


def _may_take(state: State, node: str, telescope: str, now: float) -> bool:
    presence = _presence(state, node)
    if presence and node != state.settings.node:
        return presence.can(telescope)
    how = seen(state, node, now)
    if how == "unsure":
        return state.probed < state.gone_since.get(node, state.began) + GRACE_SECONDS
    return how == "able"


def ability(state: State, now: float) -> tuple[bool, str]:
    """Whether this node can work, and why not.

    able means that ast3d's count of frames served goes up, or that it has nothing to do, or that it is at a frame and no
    failure of the machine's has been seen.  Whoever was not able is again once it answers steadily, has nothing
    of its own standing against it, and either has served a frame or is without work: whether it fares better then
    is found out by giving it some.
    """
    daemon = state.daemon
    if state.deaf_since != NEVER:
        deaf = now - state.deaf_since
        return (state.able, state.reason) if deaf < DEAF_SECONDS else (False, f"ast3d does not answer: {state.deaf_reason}")
    if daemon is None:
        return False, state.reason
    stalled = now - state.progress
    if state.able:
        healthy_run = bool(sum(daemon.running.values())) and not daemon.ill
        if stalled >= state.settings.able_seconds and not healthy_run:
            return False, f"no frame served for {stalled:.0f} s: {daemon.ill or daemon.broken or 'none was begun'}"
        return True, ""
    new = state.reason == UNKNOWN
    steady = now - state.answering_since >= STEADY_SECONDS and stalled < RECENT_SECONDS
    if (new or steady) and not daemon.broken:
        return True, ""
    return False, daemon.broken or state.reason
