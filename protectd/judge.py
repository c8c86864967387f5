"""The guard: what one daemon concludes of the other.  Pure: time, datagrams and looks come in, actions go out.

It guarantees, of a peer that it watches:
- dead (its pidfd says so, or a look): another is started at once, as soon as nobody holds the peer's lock;
- silent for `misses` periods and stopped, spinning or deadlocked (`protectd.verdict`): SIGKILL, and then it is dead;
- silent for any other reason (the disk or the CPU is starved): left alone, said, looked at again until it speaks.

A peer speaks when its progress moves; one whose progress stands still is silent, whatever it sends.  Silence in which this
guard did not run itself does not count.  A start is under way until the new peer speaks or ends; there is no other
meanwhile. Nothing is started while the marker of a stop on purpose is there, after the peer said "stopping", or where
`may_start` is false (systemd starts it again); and with `enabled` false nothing is killed or started at all.
"""

from typing import Any

from protectd.events import (
    Action,
    Began,
    Failed,
    Follow,
    Gone,
    Heard,
    Input,
    Kill,
    LookAt,
    Looked,
    Say,
    Seen,
    SeeWho,
    Start,
    Tick,
    Told,
)
from protectd.guard import FIRST_PERIODS, Guard
from protectd.message import Message, Settings
from protectd.proc import Look
from protectd.starts import LIMIT_SECONDS
from protectd.verdict import LOOK_PERIODS, LOOKS_A_PERIOD, wrong

UNKNOWN_SECONDS = 10.0
LATE_PERIODS = 2.0  # between two ticks: one of them came more than a period too late
EPSILON = 1e-6  # seconds: sums of binary fractions


def decide(guard: Guard, given: Input) -> list[Action]:
    """Take in what happened; -> what to do, in this order."""
    match given:
        case Heard(now, message):
            return _hear(guard, now, message)
        case Gone(now, pid, ticks):
            return _lose(guard, now) if (pid, ticks) == (guard.pid, guard.ticks) else []
        case Looked(now, pid, ticks, look):
            return _judge(guard, now, look) if (pid, ticks) == (guard.pid, guard.ticks) else []
        case Seen():
            return _start_or_adopt(guard, given)
        case Began(now, pid, ticks):
            return _await(guard, now, pid, ticks)
        case Failed(now, reason):
            return _try_later(guard, now, reason)
        case Tick(now):
            return _turn(guard, now)
        case Told(now, settings):
            return _obey(guard, now, settings)


def next_due(guard: Guard) -> float:
    """When a Tick is wanted: once a period at least, or it could not be told whether this guard runs."""
    due = guard.seek_at if guard.pid is None else guard.next_look
    return min(due, guard.turned_at + guard.settings.period_seconds)


# --- hearing


def _hear(guard: Guard, now: float, message: Message) -> list[Action]:
    actions: list[Action] = []
    if (message.pid, message.ticks) != (guard.pid, guard.ticks):
        if not _succeeds(guard, message):
            return []
        actions += _adopt(guard, now, message.pid, message.ticks, "")
    if message.seq <= guard.seq:  # it came twice, or late
        return []
    moved = (message.progress, message.says, message.until) != (guard.progress, guard.says, guard.until)
    guard.generation, guard.seq, guard.progress = message.generation, message.seq, message.progress
    guard.says, guard.until = message.says, min(message.until, now + LIMIT_SECONDS)
    guard.stated, guard.mute, guard.begun = message.protect, 0, False
    if guard.obeys and message.protect:
        actions += _obey(guard, now, message.protect)
    if not moved:
        return actions
    if guard.slow:
        actions.append(Say("INFO", "peer.recovered", _of(guard) | {"silent_seconds": round(guard.quiet(now), 1)}))
    return actions + _count_anew(guard, now)


def _succeeds(guard: Guard, message: Message) -> bool:
    """Whether it comes from a peer that followed the known one; those that came before it may still be heard late."""
    if message.ticks < guard.newest_ticks or (message.pid, message.ticks) == guard.dead:
        return False
    return guard.pid is None or message.generation > guard.generation


def _adopt(guard: Guard, now: float, pid: int, ticks: int, says: str) -> list[Action]:
    """This process is the peer from now on."""
    guard.pid, guard.ticks = pid, ticks
    guard.newest_ticks = max(guard.newest_ticks, ticks)
    guard.generation, guard.seq, guard.progress = 0, -1, -1
    guard.says, guard.until, guard.stated = says, 0.0, None
    guard.killed_at = None
    return [Follow(pid, ticks), *_count_anew(guard, now)]


def _count_anew(guard: Guard, now: float) -> list[Action]:
    """Silence counts from now; a look says what it had used until now."""
    guard.heard_at = now
    guard.base, guard.looks, guard.slow = None, [], False
    guard.next_look = _first_look(guard)
    return [LookAt(guard.pid, guard.ticks)] if guard.pid is not None else []


def _first_look(guard: Guard) -> float:
    """Looks fill the last periods before the peer is judged."""
    begins = guard.heard_at - guard.quiet(guard.heard_at)
    return begins + max(guard.patience - LOOK_PERIODS * guard.period, 0.0)


def _obey(guard: Guard, now: float, settings: Settings) -> list[Action]:
    """Other settings; what was silence under the old ones may be none under these."""
    if settings == guard.settings:
        return []
    guard.settings = settings
    guard.seek_at = min(guard.seek_at, now + FIRST_PERIODS * settings.period_seconds)
    return _count_anew(guard, now)


# --- losing, and starting again


def _lose(guard: Guard, now: float) -> list[Action]:
    assert guard.pid is not None
    said = Say("INFO" if guard.says == "stopping" else "ERROR", "peer.gone", _of(guard) | {"said": guard.says or "nothing"})
    guard.dead, guard.pid, guard.slow = (guard.pid, guard.ticks), None, False
    guard.reason = "it ended"
    if guard.begun:
        guard.begun = False
        guard.mute += 1
    guard.seek_at = now + guard.patience
    return [said, SeeWho()]


def _seek(guard: Guard, now: float) -> list[Action]:
    if now < guard.seek_at:
        return []
    guard.seek_at = now + guard.patience
    return [SeeWho()]


def _start_or_adopt(guard: Guard, seen: Seen) -> list[Action]:
    now, holder = seen.now, seen.holder
    if guard.pid is not None:
        return []
    if holder and holder != guard.dead:
        adopted = _adopt(guard, now, *holder, seen.says)
        return [Say("INFO", "peer.found", _of(guard)), *adopted]
    if holder or seen.stopped or guard.says == "stopping" or not guard.may_start or not guard.settings.enabled:
        return []
    if now < guard.start_not_before:
        guard.seek_at = guard.start_not_before
        return []
    guard.started_at, guard.begun = now, True
    return [Say("INFO", "peer.start", {"peer": guard.peer, "reason": guard.reason}), Start(guard.reason)]


def _await(guard: Guard, now: float, pid: int | None, ticks: int) -> list[Action]:
    """A start is under way."""
    if pid is not None:
        return _adopt(guard, now, pid, ticks, "starting")
    guard.begun = False
    guard.mute += 1  # until it speaks
    guard.seek_at = max(now + UNKNOWN_SECONDS, guard.start_not_before)
    return []


def _try_later(guard: Guard, now: float, reason: str) -> list[Action]:
    """It could not even be started."""
    guard.begun = False
    guard.mute += 1
    guard.seek_at = max(now, guard.start_not_before)
    again = round(guard.seek_at - now, 1)
    return [Say("ERROR", "peer.not-started", {"peer": guard.peer, "reason": reason, "again_seconds": again})]


# --- judging


def _turn(guard: Guard, now: float) -> list[Action]:
    late = now - guard.turned_at > LATE_PERIODS * guard.settings.period_seconds
    guard.turned_at = now
    if guard.pid is None:
        if late and guard.seek_at <= now and not guard.dead:  # what would have been heard meanwhile may still come
            guard.seek_at = now + FIRST_PERIODS * guard.settings.period_seconds
        return _seek(guard, now)
    if late:
        return _count_anew(guard, now)
    if now < guard.next_look:
        return []
    between = guard.period / LOOKS_A_PERIOD
    guard.next_look += between * (1 + (now - guard.next_look) // between)
    return [LookAt(guard.pid, guard.ticks)]


def _judge(guard: Guard, now: float, look: Look | None) -> list[Action]:
    if look is None or look.state in "ZXx":
        return _lose(guard, now)
    guard.base = guard.base or (now, look)
    kept = now - guard.period * (LOOK_PERIODS + 0.5 / LOOKS_A_PERIOD)
    guard.looks = [(at, seen) for at, seen in guard.looks if at >= kept] + [(now, look)]
    if guard.quiet(now) + EPSILON < guard.patience or not guard.settings.enabled:
        return []
    reason = wrong(guard, now)
    if not reason:
        return _say_slow(guard, now, look)
    if guard.killed_at is not None and now - guard.killed_at < guard.patience:  # it takes its time: in D nothing ends it
        return []
    assert guard.pid is not None
    guard.killed_at, guard.reason = now, f"it was {reason}"
    fields = _of(guard) | {"reason": reason} | _seen(guard, now, look)
    return [Say("ERROR", "peer.kill", fields), Kill(guard.pid, guard.ticks, reason)]


def _say_slow(guard: Guard, now: float, look: Look) -> list[Action]:
    """Once; it is left alone and looked at again."""
    if guard.slow:
        return []
    guard.slow = True
    return [Say("ERROR", "peer.slow", _of(guard) | _seen(guard, now, look))]


def _seen(guard: Guard, now: float, look: Look) -> dict[str, Any]:
    first = guard.base[1] if guard.base else look
    return {
        "silent_seconds": round(guard.quiet(now), 1),
        "state": look.state,
        "cpu_seconds": round(look.cpu - first.cpu, 3),
        "delay_seconds": round(look.delay - first.delay, 3),
    }


def _of(guard: Guard) -> dict[str, Any]:
    return {"peer": guard.peer, "pid": guard.pid}
