"""What this node's ast3d may work for.  Pure.

Its own telescopes need nobody's word.  Another's need etcd's, as long as this node's lease lasts; or, where etcd has no
quorum and the site wants it so (`no_quorum: provisional`), nobody's either, and then two may work for one: what they
make is accepted once.
"""

from ha import judge
from ha.cluster import Claim, Ownership
from ha.plan import Membership, plan
from ha.state import State

MARGIN_SECONDS = 0.5  # this node stops before etcd can give its lease up
PROVISIONAL_SECONDS = 5.0


def claims(state: State, now: float) -> dict[str, Claim]:
    """All that ast3d may work for from now on."""
    found = {}
    for telescope in state.settings.telescopes:
        claim = _claim(state, telescope, state.ownership(telescope), now)
        if claim:
            found[telescope] = claim
    return found


def _claim(state: State, telescope: str, known: Ownership, now: float) -> Claim | None:
    me = state.settings.node
    if telescope in state.releasing:
        return None
    if known.holder == me and known.owner == me:
        return Claim(known.epoch, known.token, own=True, deadline=None)
    if telescope in state.lent:
        if known.owner == me:  # the token is another's
            return Claim(known.epoch, 0, own=True, deadline=None)
        return Claim(known.epoch, known.token, own=False, deadline=now + PROVISIONAL_SECONDS)
    if known.holder == me:
        return Claim(known.epoch, known.token, own=False, deadline=max(state.lease_until - MARGIN_SECONDS, 0.0))
    return None


def working(state: State, now: float) -> frozenset[str]:
    """The telescopes that ast3d may begin a frame of."""
    mine = claims(state, now).items()
    return frozenset(name for name, claim in mine if claim.deadline is None or now < claim.deadline)


def lent(state: State, now: float) -> frozenset[str]:
    """The telescopes that this node works for although the last thing known is that another does."""
    me = state.settings.node
    if judge.has_quorum(state, now) or state.probed < state.began + judge.GRACE_SECONDS:
        return frozenset()
    able = {node for node in state.settings.policy.nodes if judge.answers(state, node, now) == "able" and node != me}
    if state.able:
        able.add(me)
    known = {telescope: state.ownership(telescope).assignment for telescope in state.settings.telescopes}
    moves = plan(Membership(frozenset(able), quorum=False), known, state.settings.policy)
    return frozenset(move.telescope for move in moves if move.to == me)
