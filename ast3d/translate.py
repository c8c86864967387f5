"""What the helpers say, as inputs; what they are asked, as messages.  Pure."""

from sys import intern
from typing import Any

from ast3d import effects
from ast3d import inputs as i
from ast3d.common.files import escape
from ast3d.common.link import Message
from ast3d.ledger import Account
from ast3d.records import Helper
from ast3d.task import Entry, Place, Sighting


def heard(message: Message, now: float) -> i.Input | None:
    """The input that a message from a helper means; None for those that concern the shell alone."""
    verb, said = next(iter(message.items()))
    match verb:
        case "sighted":
            return i.Sighted(now, tuple(_sighting(one) for one in said))
        case "gone":
            return i.Gone(now, tuple(Place(telescope, name) for telescope, name in said))
        case "scanned":
            return i.ScanEnded(now, tuple(said["problems"]))
        case "identified":
            return i.Identified(now, _entry(said), said["task"], said["published"])
        case "grew":
            return i.FrameGrew(now, said)
        case "sought":
            return i.Sought(now, said["task"], said["where"], said["reason"])
        case "filed":
            return i.FrameFiled(now, said["task"], said["outcome"], said["detail"])
        case "restored":
            return i.FrameRestored(now, said["task"], said["request"], said["problem"])
    return None


def worker_ended(told: Account, now: float) -> i.WorkerEnded:
    """The input that the end of a worker means, by its account, or by what is known where that does not say how it ended."""
    return i.WorkerEnded(
        now, told.task, told.attempt, told.night, told.reason, told.blame, told.retriable, told.tail, told.changed,
        lost=not told.ended, fingerprint=told.fingerprint, found=told.found,
        fenced=(told.claim["epoch"], told.claim["token"]) if told.fenced and told.claim else None,
    )  # fmt: skip


def asked(effect: effects.Effect) -> tuple[Helper, Message] | None:
    """Which helper an effect is for, and what it is asked; None where the shell does it by itself or needs to add to it."""
    match effect:
        case effects.Identify(entry):
            return "scout", {"identify": _of(entry)}
        case effects.Look(place):
            return "scout", {"look": {"telescope": place.telescope, "name": place.name}}
        case effects.Seek(task, place, reason):
            return "scout", {"seek": {"task": task, "telescope": place.telescope, "reason": reason}}
        case effects.WatchGrowth(task, path, size):
            return "scout", {"watch_growth": {"task": task, "path": path, "size": size}}
        case effects.Archive(task, entry, night):
            return "porter", {"archive": _of(entry) | {"task": task, "night": night}}
        case effects.Quarantine():
            return "porter", {"quarantine": _of(effect.entry) | {"task": effect.task, "why": why(effect)}}
        case effects.Restore(task, request):
            return "porter", {"restore": {"task": task, "request": request}}
        case effects.Reconsider(fingerprint, but, telescopes):
            return "porter", {"reconsider": {"fingerprint": fingerprint, "but": but, "telescopes": telescopes}}
        case effects.Sweep(task, attempt):
            return "porter", {"sweep": {"task": task, "attempt": attempt}}
    return None


def why(effect: effects.Quarantine) -> dict[str, Any]:
    """What why.json says of a discarded frame."""
    return {
        "task": effect.task,
        "state": "DISCARDED",
        "reason": effect.reason,
        "blame": effect.blame,
        "incomplete": effect.incomplete,
        "size": effect.entry.size,
        "fingerprint": effect.failures[-1].fingerprint if effect.failures else "",
        "attempts": [
            {"attempt": f.attempt, "reason": f.reason, "blame": f.blame, "seconds": f.seconds, "tail": f.tail}
            for f in effect.failures
        ],
    }


def shown(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a log line, names of files escaped."""
    return {key: escape(value) if key == "name" else value for key, value in fields.items()}


def _entry(said: dict[str, Any]) -> Entry:
    return Entry(Place(intern(said["telescope"]), said["name"]), said["size"], said["mtime_ns"])


def _sighting(said: dict[str, Any]) -> Sighting:
    return Sighting(_entry(said), said["kind"], said["arrival"], said["needs"])


def _of(entry: Entry) -> dict[str, Any]:
    return {
        "telescope": entry.place.telescope,
        "name": entry.place.name,
        "size": entry.size,
        "mtime_ns": entry.mtime_ns,
    }
