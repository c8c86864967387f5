"""What to do: `decide(state, input) -> records, effects`.  Pure; it reads the state and never changes it.

Who is able is `ha.judge`'s, what to change in etcd `ha.moves`', what ast3d may do `ha.claims`'.  All that is done rests on
the state as it is now: what etcd or ast3d did not take is asked for again at the next Tick.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import singledispatch

from ha import effects, judge, moves, orders, records
from ha import inputs as i
from ha.claims import claims, lent, working
from ha.cluster import Order, Ownership, Presence, View, later
from ha.state import NEVER, State

TROUBLE_SECONDS = 3.0  # etcd may be silent for so long before it is said: it chooses a leader

Step = records.Record | effects.Effect


def decide(state: State, given: i.Input) -> tuple[list[records.Record], list[effects.Effect]]:
    """What the input means: facts to remember, then things to do.  Raises nothing for any input on any state."""
    facts: list[records.Record] = []
    doings: list[effects.Effect] = []
    for step in _steps(given, state):
        if isinstance(step, effects.Effect):
            doings.append(step)
        else:
            facts.append(step)
    return facts, doings


@singledispatch
def _steps(given: i.Input, state: State) -> Iterator[Step]:
    raise TypeError(f"not an input: {given!r}, while {len(state.telescopes)} telescopes are known")


@_steps.register
def _(given: i.AgentBegan, _state: State) -> Iterator[Step]:
    yield records.Began(given.now)
    yield records.Remembered(dict(given.remembered))
    yield effects.Log("INFO", "ha.start", {"remembered": len(given.remembered)})


@_steps.register
def _(given: i.ConfigurationRead, _state: State) -> Iterator[Step]:
    yield records.Configured(given.settings)


@_steps.register
def _(given: i.Tick, state: State) -> Iterator[Step]:
    now = given.now
    yield from _judge_self(state, now)
    yield from _lend(state, now)
    yield from _release(state, now)


@_steps.register
def _(given: i.Cycled, state: State) -> Iterator[Step]:
    yield records.Returned()
    yield from _keep_lease(state, given)
    if given.view:
        yield records.Viewed(given.now, given.view)
        yield from _tell_changes(state, given.view.telescopes)
        known = later(state.telescopes, given.view.telescopes)
        if known != state.telescopes:
            yield effects.Save(known)
        yield from _let_go_of_wishes(state, given, given.view)
        yield from _notice_namesake(state, given)
    yield from _tell_trouble(state, given)


@_steps.register
def _(_given: i.CourierLost, _state: State) -> Iterator[Step]:
    yield records.Returned()


@_steps.register
def _(given: i.RoundEnded, _state: State) -> Iterator[Step]:
    yield records.Probed(given.now, dict(given.standings))


@_steps.register
def _(given: i.DaemonTold, state: State) -> Iterator[Step]:
    yield records.Told(given.now, given.claimed, given.daemon, given.problem)
    daemon, before = given.daemon, state.daemon
    if daemon is None:
        return
    due = working(state, given.now) & given.claimed - daemon.fenced.keys()
    busy = any(daemon.waiting.get(telescope, 0) + daemon.running.get(telescope, 0) for telescope in due)
    if before is None or daemon.served > before.served or not busy:
        yield records.Progressed(given.now)
    for telescope in daemon.fenced.keys() - (before.fenced if before else {}).keys():
        so = "what it makes is refused by the products' store, for another has taken over since"
        yield effects.Log("ERROR", "ha.fenced", {"telescope": telescope, "so": so})


@_steps.register
def _(given: i.Handover, state: State) -> Iterator[Step]:
    yield from orders.hand_over(state, given)


@_steps.register
def _(given: i.Handback, state: State) -> Iterator[Step]:
    yield from orders.hand_back(state, given)


def act(state: State, now: float) -> list[effects.Effect]:
    """After a Tick: what etcd and ast3d are told, by the state as it is then."""
    doings: list[effects.Effect] = [effects.Tell(claims(state, now))]
    known = state.daemon is not None or now - state.began >= judge.DEAF_SECONDS
    if state.asked == NEVER and known:
        presence = Presence(state.able, state.reason, frozenset(state.settings.telescopes))
        seconds = state.settings.lease_seconds
        lease = state.lease if state.lease_seconds == seconds else 0  # another one, when the configuration has changed
        doings.append(effects.Cycle(lease, seconds, presence, tuple(moves.changes(state, now))))
    return doings


def _judge_self(state: State, now: float) -> Iterator[Step]:
    able, reason = judge.ability(state, now)
    if (able, reason) == (state.able, state.reason):
        return
    yield records.Able(now, able, reason)
    if able != state.able:
        level: effects.Level = "INFO" if able else "ERROR"
        yield effects.Log(level, "ha.able" if able else "ha.unable", {} if able else {"reason": reason})


def _lend(state: State, now: float) -> Iterator[Step]:
    now_lent = lent(state, now)
    if now_lent == state.lent:
        return
    yield records.Lent(now_lent)
    for telescope in sorted(now_lent - state.lent):
        reason = f"etcd has not answered for {state.settings.quorum_seconds:g} s"
        yield effects.Log("INFO", "ha.provisional", {"telescope": telescope, "reason": reason})
    for telescope in sorted(state.lent - now_lent):
        yield effects.Log("INFO", "ha.provisional.over", {"telescope": telescope})


def _release(state: State, now: float) -> Iterator[Step]:
    due = moves.releases(state, now)
    for telescope in state.releasing.keys() - due.keys():
        yield records.Kept(telescope)
    for telescope, to in due.items():
        if state.releasing.get(telescope) != to:
            yield records.Releasing(telescope, to)
            so = "it takes no more frames, and hands over when those at work have ended"
            yield effects.Log("INFO", "ha.releasing", {"telescope": telescope, "to": to, "so": so})


def _keep_lease(state: State, given: i.Cycled) -> Iterator[Step]:
    lost = state.lease_lost
    if given.gone and lost == NEVER:
        lost = given.now
        yield records.LeaseLost(lost)
        yield effects.Log("ERROR", "ha.lease.gone", {"so": "etcd says so, perhaps wrongly; another is asked for"})
    if given.renewed_at is not None:
        seconds = state.asked_seconds if given.granted else state.lease_seconds
        yield records.Leased(given.lease, given.renewed_at + seconds, seconds)
        if lost != NEVER:
            gap = round(given.now - lost, 3)
            yield records.LeaseAgain(gap)
            yield effects.Log("INFO", "ha.lease.again", {"seconds": gap})
    elif given.gone:
        yield records.Leased(0, NEVER, 0)


def _tell_changes(state: State, telescopes: Mapping[str, Ownership]) -> Iterator[Step]:
    me = state.settings.node
    for telescope, ownership in telescopes.items():
        before = state.telescopes.get(telescope)
        fields = {"telescope": telescope, "token": ownership.token, "epoch": ownership.epoch, "why": ownership.why}
        if before is None or before.holder == ownership.holder or before.rank > ownership.rank:
            continue
        if ownership.holder == me and ownership.owner == me and ownership.epoch == before.epoch:
            yield effects.Log("INFO", "ha.returned", {**fields, "from": before.holder})
        elif ownership.holder == me:
            yield effects.Log("INFO", "ha.took", {**fields, "from": before.holder})
        elif before.holder == me:
            yield records.Kept(telescope)
            yield effects.Log("INFO", "ha.released", {**fields, "to": ownership.holder})


def _tell_trouble(state: State, given: i.Cycled) -> Iterator[Step]:
    """One line when it lasts, one when it is over."""
    problem, told = given.problem, state.trouble_told
    since = state.trouble_since if state.trouble else given.now
    if problem and not told and given.now - since >= TROUBLE_SECONDS:
        told = True
        so = "own work goes on; it is tried again every second"
        yield effects.Log("ERROR", "ha.etcd.lost", {"reason": problem, "so": so})
    elif not problem and told:
        told = False
        yield effects.Log("INFO", "ha.etcd.back")
    if (problem, told) != (state.trouble, state.trouble_told):
        yield records.StoreTrouble(given.now, problem, told)


def _let_go_of_wishes(state: State, given: i.Cycled, view: View) -> Iterator[Step]:
    """Those that etcd has now; and all where it can be read and not written: nobody is to be surprised hours later."""
    left = {telescope: wish for telescope, wish in state.wishes.items() if not _stands(wish, view.orders.get(telescope))}
    if left and given.problem:
        so = "what the operator asked for is not done; ask again"
        yield effects.Log("ERROR", "ha.order.lost", {"telescopes": " ".join(left), "reason": given.problem, "so": so})
        left = {}
    if left != state.wishes:
        yield records.Wished(left)


def _notice_namesake(state: State, given: i.Cycled) -> Iterator[Step]:
    """Once may be an answer of etcd's that was lost; and what this node cannot put now, its own last life may have put."""
    times = state.usurped + 1 if given.namesake and not given.problem else 0
    if times != state.usurped:
        yield records.Usurped(times)
    if times == judge.NAMESAKE_TIMES:
        me = state.settings.node
        so = "both work for its telescopes: give one of them its own ha.node"
        yield effects.Log("ERROR", "ha.namesake", {"reason": f"another node says that it is {me} too", "so": so})


def _stands(wish: Order, order: Order | None) -> bool:
    """Whether etcd has what was wished."""
    return order is not None and replace(order, revision=0) == wish
