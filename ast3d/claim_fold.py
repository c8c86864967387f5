"""How the records about claims change what ast3d knows: see `ast3d.fold`, which has the others.  Total, decides nothing."""

from dataclasses import replace
from functools import singledispatch

from ast3d import claim_records as c
from ast3d.state import State, change, drop


@singledispatch
def apply(_record: c.DurableOfClaims | c.VolatileOfClaims, _state: State) -> None:
    """Fold one record."""


@apply.register
def _(record: c.Owned, state: State) -> None:
    state.claims = replace(state.claims, assignment=record.assignment)


@apply.register
def _(record: c.Released, state: State) -> None:
    for task in record.tasks:
        if task in state.tasks and state.tasks[task].phase in ("READY", "FAILED"):
            drop(state, task)


@apply.register
def _(record: c.Returned, state: State) -> None:
    task = state.tasks.get(record.task)
    if task and task.phase == "RUNNING":
        change(state, task.id, phase="READY", since=record.now, ready_at=record.now, pid=0, stage="", signal="",
                signal_reason="", solo=False, cut=False)  # fmt: skip


@apply.register
def _(record: c.Claimed, state: State) -> None:
    claims, held = state.claims, record.held
    refused = {name: rank for name, rank in claims.refused.items() if name not in held or held[name].rank <= rank}
    parked = claims.parked & held.keys()
    state.claims = replace(claims, held=held, heard=record.heard, refused=refused, parked=parked)


@apply.register
def _(record: c.Parked, state: State) -> None:
    others = state.claims.parked - {record.telescope}
    state.claims = replace(state.claims, parked=others | {record.telescope} if record.parked else others)


@apply.register
def _(record: c.Fenced, state: State) -> None:
    rank = record.epoch, record.token
    greatest = max(rank, state.claims.refused.get(record.telescope, rank))
    state.claims = replace(state.claims, refused={**state.claims.refused, record.telescope: greatest})


@apply.register
def _(_record: c.Served, state: State) -> None:
    state.claims = replace(state.claims, served=state.claims.served + 1, ill="")


@apply.register
def _(record: c.Sickened, state: State) -> None:
    state.claims = replace(state.claims, ill=record.reason)
