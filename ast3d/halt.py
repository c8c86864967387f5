"""Ending on purpose, as an operator asks for it: what is to happen until ast3d may end.  Pure.

now: at once; the workers go on by themselves and the next ast3d finds them.  drain: when no worker runs any more.  kill: the
workers are asked to end, and those that have not within 5 s are killed; what cannot be killed is left.  From the asking on
nothing new starts, and no frame is blamed for an attempt that was ended so.
"""

import math
from collections.abc import Iterator

from ast3d import effects, records
from ast3d import inputs as i
from ast3d.attempts import ENDED_BY_OPERATOR
from ast3d.state import State

KILL_SECONDS = 5.0  # from being asked to end to being killed
GIVE_UP_SECONDS = 15.0  # a worker that is still there has been sent SIGKILL and hangs in the kernel

Step = records.Record | effects.Effect


def ask(state: State, given: i.Stop) -> Iterator[Step]:
    """An operator asks; a later asking takes the place of an earlier one."""
    running = len(state.phases["RUNNING"])
    yield records.Halting(given.now, given.mode)
    yield effects.Log("INFO", "daemon.stopping", {"mode": given.mode, "running": running})
    yield effects.Reply(given.request, {"mode": given.mode, "running": running})


def go_on(state: State, halting: records.Halting, now: float) -> Iterator[Step]:
    """What is due at a Tick; it ends with `effects.End`, and not before what that one says is true."""
    if halting.mode == "now" or not state.phases["RUNNING"]:
        yield effects.End()
    elif halting.mode == "kill":
        yield from _end_workers(state, halting, now)


def next_due(state: State) -> float:
    """When the next Tick can find something to do."""
    if not (state.halting and state.halting.mode == "kill"):
        return math.inf
    times = [state.halting.now + GIVE_UP_SECONDS]
    times += [_kill_at(task.signal_at, state.halting) for task in state.within("RUNNING") if task.signal == "TERM"]
    return min(times)


def _end_workers(state: State, halting: records.Halting, now: float) -> Iterator[Step]:
    for task in state.within("RUNNING"):
        if task.pid and not task.signal:
            yield records.Signalled(now, task.id, "TERM", ENDED_BY_OPERATOR)
            yield effects.Kill(task.id, task.attempt, task.pid, "TERM")
        elif task.signal == "TERM" and now >= _kill_at(task.signal_at, halting):
            yield records.Signalled(now, task.id, "KILL", task.signal_reason)
            yield effects.Kill(task.id, task.attempt, task.pid, "KILL")
    if now >= halting.now + GIVE_UP_SECONDS:
        so = "the next ast3d finds them"
        yield effects.Log("ERROR", "daemon.left", {"tasks": list(state.phases["RUNNING"]), "so": so})
        yield effects.End()


def _kill_at(asked: float, halting: records.Halting) -> float:
    """One that had been asked for its own sake before has no longer than the others."""
    return max(asked, halting.now) + KILL_SECONDS
