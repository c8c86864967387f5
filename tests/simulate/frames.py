"""Frames and what is the matter with them: every file in a pool has its fate."""

from dataclasses import dataclass
from random import Random
from typing import Literal

from ast3d.task import Arrival, Blame, Entry, Place

Kind = Literal["good", "flaky", "bad", "hopeless", "hang", "killer", "torn", "hungry", "sloppy", "mute", "slow"]
KINDS: tuple[Kind, ...] = ("good", "flaky", "bad", "hopeless", "hang", "killer", "torn", "hungry", "sloppy", "mute", "slow")
WEIGHTS = (12, 3, 2, 1, 2, 1, 2, 2, 1, 1, 2)
HEALTHY = ("good", "sloppy", "mute", "slow", "hungry", "flaky")
SIZE = 5760
EVER = 10**9


class Frame:
    """A file: its bytes (`key` stands for them), how many names it has, and its fate.

    good: processed.  flaky: fails `times` times by its own fault, fewer than are allowed.  bad: fails always; hopeless:
    needs no second attempt.  hang: ends by a signal only.  killer: brings the machine down.  torn: shorter than its header
    says.  hungry: its work is killed by the kernel `times` times.  sloppy: its work exits 0 having removed the folder for
    the products, `times` times.  mute: its runner is gone without a word, `times` times.  slow: does not end when asked.
    """

    def __init__(self, place: Place, key: int, kind: Kind, rng: Random, mtime: int) -> None:
        self.place, self.key, self.kind, self.mtime = place, key, kind, mtime
        self.size, self.needs = SIZE, SIZE
        self.times = rng.choice((1, 1, 2))
        if kind == "hungry":
            self.times = rng.choice((1, 2, 3, 4, EVER))
        elif kind in ("bad", "hopeless", "hang", "killer"):
            self.times = EVER
        if kind == "torn":
            self.size = rng.choice((0, 2880, 4000))
        self.arrival: Arrival = rng.choice(("listed", "renamed", "done"))
        self.links = 1
        self.attempted = 0
        self.tried_under = ""  # which configuration, the last time
        self.failed = 0  # executions that ended by its own fault, and were accounted for
        self.doomed = False  # it left the pool by its own fate

    @property
    def task(self) -> str:
        return f"{self.place.name[:-5]}-{self.key:04d}"

    @property
    def entry(self) -> Entry:
        return Entry(self.place, self.size, self.mtime)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the work of one execution ends, if nothing comes between."""

    seconds: float
    what: Literal["made", "failed", "killed", "lost", "never", "down"]
    reason: str = ""
    blame: Blame = "frame"
    retriable: bool = True
    deaf: bool = False  # SIGTERM does not end it


def outcome(frame: Frame, rng: Random) -> Outcome:
    """What the next execution comes to."""
    frame.attempted += 1
    seconds = rng.choice((0.01, 2.0, 8.0, 20.0)) * (0.5 + rng.random())
    if frame.attempted > frame.times:
        return Outcome(seconds, "made")
    match frame.kind:
        case "flaky" | "bad":
            return Outcome(seconds, "failed", "no stars")
        case "hopeless":
            return Outcome(seconds, "failed", "not an image", retriable=False)
        case "hang":
            return Outcome(seconds, "never", deaf=rng.random() < 0.5)
        case "killer":
            return Outcome(seconds, "down")
        case "hungry":
            return Outcome(seconds, "killed", "ended by SIGKILL", "environment")
        case "sloppy":
            return Outcome(seconds, "failed", "the folder for the products was removed or replaced", "environment")
        case "mute":
            return Outcome(seconds, "lost")
        case "slow":
            return Outcome(seconds + 45.0, "made", deaf=True)
    return Outcome(seconds, "made")
