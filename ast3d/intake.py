"""Frames on their way in: when a pool entry is complete, what becomes of it, and when it is gone."""

from collections.abc import Iterator

from ast3d import claims, effects, records
from ast3d import inputs as i
from ast3d.policy import Policy
from ast3d.state import State, Waiting
from ast3d.task import Entry, Sighting

Step = records.Record | effects.Effect


def due_at(entry: Waiting, policy: Policy) -> float:
    """When a pool entry is to be identified, if it does not change until then."""
    return entry.since + {
        "none": 0.0,
        "settle": policy.settle_seconds,
        "incomplete": policy.incomplete_seconds,
    }[entry.patience]  # fmt: skip


def next_due(state: State) -> Iterator[float]:
    """When the first of each queue is due: who came first is due first."""
    for queue in state.queues.values():
        for place in queue:
            yield due_at(state.waiting[place], state.policy)
            break


def sight(state: State, given: i.Sighted) -> Iterator[Step]:
    """Entries that are new, or have changed; those that are tasks already are known, and others are another node's."""
    for sighting in given.sightings:
        place = sighting.entry.place
        if not claims.holds(state, place.telescope):
            continue  # it was told before the scout learned of that
        task = state.places.get(place)
        known = state.waiting.get(place)
        if task and state.tasks[task].entry == sighting.entry:
            continue
        if known and known.sighting == sighting:
            continue
        yield records.Seen(given.now, sighting)


def lose(state: State, given: i.Gone) -> Iterator[Step]:
    """Entries that left the pool without us."""
    for place in given.places:
        if place in state.waiting:
            yield records.Unseen(place)
        task = state.places.get(place)
        if task and state.tasks[task].phase in ("READY", "FAILED") and claims.holds(state, place.telescope):
            yield records.Vanished(task)
            yield claims.miss(state, state.tasks[task], "the frame left the pool unprocessed")


def judge(state: State, given: i.Identified) -> Iterator[Step]:
    """A frame has its id: a task, or known already, or not a frame at all."""
    entry, task = given.entry, given.task
    waiting = state.waiting.get(entry.place)
    if waiting is None or waiting.sighting.entry != entry or entry.place in state.places:
        return  # it changed in the meantime and will be asked about again
    entry = waiting.sighting.entry  # the same, but in memory already
    yield records.Unseen(entry.place)
    fields = {"task": task, "name": entry.place.name, "bytes": entry.size}
    if given.published:
        yield records.Done(given.now, task, entry, given.published, credited=True)
        yield effects.Log("INFO", "task.known", {**fields, "night": given.published})
    elif refusal := refuse(waiting.sighting):
        incomplete = waiting.sighting.kind == "regular"
        yield records.Discarded(given.now, task, entry, refusal, "frame", None, incomplete)
        yield effects.Log("ERROR", "task.discarded", {**fields, "reason": refusal})
    else:
        yield records.Accepted(given.now, task, entry)
        yield effects.Log("INFO", "task.ready", {**fields, "telescope": entry.place.telescope})


def refuse(sighting: Sighting) -> str:
    """Why a pool entry cannot become a task, or an empty string."""
    if sighting.kind == "link":
        return "a symbolic link, not a frame: links are not followed out of the pool; drop the file itself"
    if sighting.kind != "regular":
        return f"a {sighting.kind}, not a frame: only regular files are processed"
    if sighting.entry.size == 0:
        return "incomplete: empty (0 bytes)"
    if sighting.entry.size < sighting.needs:
        return f"incomplete: {sighting.entry.size} bytes of the {sighting.needs} that its header says"
    return ""


def due(state: State, now: float, at_once: int) -> Iterator[Entry]:
    """The pool entries to identify now, at most so many at once with those that are being identified."""
    free = at_once - state.asked
    for queue in state.queues.values():
        for place in queue:
            if free <= 0:
                return
            if due_at(state.waiting[place], state.policy) > now:
                break
            free -= 1
            yield state.waiting[place].sighting.entry
