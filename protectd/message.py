"""What the two daemons say to each other: one JSON datagram a period.

A datagram that is not one of these, whatever it is, is None and harmless.
"""

import json
from typing import Any, NamedTuple

MAX_BYTES = 4096
MAX_PERIOD_SECONDS = 60.0  # of what is believed, whatever was read
SAYS = ("starting", "ready", "backing off", "stopping")


class Settings(NamedTuple):
    """How a guard guards; ast3d's configuration has them (`protect.*`), protectd learns them from ast3d."""

    enabled: bool = True
    period_seconds: float = 1.0
    misses: int = 3


DEFAULT = Settings()


class Message(NamedTuple):
    """One datagram.  `ticks`: when the sender started, in clock ticks since boot, so that (pid, ticks) names one process.

    `progress` is another number after each turn of the sender's loop; `until`: a boottime, or 0;
    `protect`: the settings that the sender goes by, and so how often it speaks.
    """

    sender: str
    pid: int
    ticks: int
    generation: int
    seq: int
    progress: int
    says: str
    until: float = 0.0
    protect: Settings | None = None


def encode(message: Message) -> bytes:
    """The datagram."""
    told = message._asdict()
    told["from"] = told.pop("sender")
    told["protect"] = message.protect and message.protect._asdict()
    return json.dumps(told).encode()


def decode(data: bytes) -> Message | None:
    """What the datagram says; None where it says nothing that can be understood."""
    try:
        told = json.loads(data)
        message = Message(
            sender=str(told["from"]),
            pid=_whole(told["pid"]),
            ticks=_whole(told["ticks"]),
            generation=_whole(told["generation"]),
            seq=_whole(told["seq"]),
            progress=_whole(told["progress"]),
            says=str(told["says"]),
            until=_number(told.get("until") or 0.0),
            protect=read_settings(told.get("protect")),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    return message if message.says in SAYS and message.pid > 0 else None


def read_settings(told: Any) -> Settings | None:
    """Settings as JSON has them; None for none, ValueError or the like for what cannot be any."""
    if told is None:
        return None
    period, misses = _number(told["period_seconds"]), _whole(told["misses"])
    if not 0.0 < period <= MAX_PERIOD_SECONDS or misses < 1:
        raise ValueError("these settings cannot be")
    return Settings(bool(told["enabled"]), period, misses)


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 1 << 63:
        raise ValueError("not a whole number")
    return value


def _number(value: Any) -> float:
    if type(value) not in {int, float} or not 0.0 <= value < 1e12:  # no bool, no NaN
        raise ValueError("not a number")
    return float(value)
