"""Frames on their way in: when a pool entry is complete, what becomes of it, and when it is gone."""

from collections.abc import Iterator

from ast3d import effects, records
from ast3d import inputs as i
from ast3d.policy import Policy
from ast3d.state import State, Waiting
from ast3d.task import Entry, Sighting

Step = records.Record | effects.Effect


def due_at(entry: Waiting, policy: Policy) -> float:
    """When a pool entry is to be identified, if it does not change until then.

    What is no regular file, and what arrived by a rename or with a sidecar, is not waited for.  A frame that is shorter than
    its header says is given `incomplete_seconds`, however it arrived.
    """
    sighting = entry.sighting
    if sighting.kind != "regular":
        return entry.since
    if sighting.entry.size < sighting.needs:
        return entry.since + policy.incomplete_seconds
    return entry.since + (policy.settle_seconds if sighting.arrival == "listed" else 0.0)


def sight(state: State, given: i.Sighted) -> Iterator[Step]:
    """Entries that are new, or have changed; those that are tasks already are known."""
    for sighting in given.sightings:
        place = sighting.entry.place
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
        if task and state.tasks[task].phase in ("READY", "FAILED"):
            yield records.Vanished(task)
            yield effects.Log("ERROR", "task.vanished", {"task": task, "reason": "the frame left the pool unprocessed"})


def judge(state: State, given: i.Identified) -> Iterator[Step]:
    """A frame has its id: a task, or known already, or not a frame at all."""
    entry, task = given.entry, given.task
    waiting = state.waiting.get(entry.place)
    if waiting is None or waiting.sighting.entry != entry or entry.place in state.places:
        return  # it changed in the meantime and will be asked about again
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


def due(state: State, now: float, at_once: int) -> list[Entry]:
    """The pool entries to identify now, the oldest first."""
    free = at_once - sum(entry.asked for entry in state.waiting.values())
    found: list[Entry] = []
    for place, entry in state.waiting.items():
        if len(found) >= free:
            break
        if not entry.asked and place not in state.places and due_at(entry, state.policy) <= now:
            found.append(entry.sighting.entry)
    return found
