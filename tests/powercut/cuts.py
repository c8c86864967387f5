"""Real power cuts: an ast3d at work, its disk copied at random instants, an ast3d started on each copy.

`campaign(n)` takes n cuts, half of them on ext4 and half on xfs.  One run of the load is cut several times; every third copy
is cut once more while the ast3d that was started on it recovers.  Each copy is given peace and then audited.
"""

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.powercut import disks
from tests.powercut.audit import Claim, Violation, audit, standing, unrecorded_starts
from tests.powercut.load import Feeder, Ledger, configure
from tests.powercut.machine import Machine, StuckError

CUTS_A_LOAD = 5
BETWEEN_SECONDS = (0.05, 0.8)
INTO_RECOVERY_SECONDS = (0.0, 1.5)
AGAIN_EACH = 3

Progress = Callable[[str], None]


@dataclass
class Tally:
    """What a campaign found."""

    cuts: int = 0
    frames: int = 0
    unpublished: int = 0
    starts_checked: int = 0
    violations: list[Violation] = field(default_factory=list)

    def __str__(self) -> str:
        def count(kind: str) -> int:
            return sum(violation.kind == kind for violation in self.violations)

        others = "".join(f", {kind} {count(kind)}" for kind in ("quarantined", "wrong", "again", "order") if count(kind))
        return (
            f"power cuts: n={self.cuts}, frames lost {count('lost')}, published twice {count('twice')}{others} "
            f"({self.frames} frames in the copies, {self.unpublished} of them at work or waiting, "
            f"START looked up of {self.starts_checked} runs)"
        )


@dataclass(frozen=True)
class Cut:
    """A copy of a disk and what was known when it was taken."""

    image: Path
    kind: str
    claim: Claim
    seed: int


class Campaign:
    """Cuts on one shelf."""

    def __init__(self, place: Path, scratch: Path, progress: Progress) -> None:
        self.place, self.scratch, self.progress = place, scratch, progress
        self.tally = Tally()

    def load(self, kind: str, cuts: int, seed: int, *, durable: bool = True) -> None:
        """One ast3d at work on a fresh disk; then each copy's recovery."""
        random_ = random.Random(seed)
        image = disks.make(self.place, kind)
        with disks.mounted(image, kind) as root:
            scratch = self.scratch / f"{kind}-{seed}"
            scratch.mkdir()
            ledger = configure(root, scratch)
            machine = Machine(root, scratch)
            feeder = Feeder(root, seed, durable=durable)
            taken = []
            try:
                machine.ready()
                feeder.start()
                machine.wait(lambda: bool(ledger.runs()), "at work")
                for number in range(cuts - cuts // (AGAIN_EACH + 1)):
                    time.sleep(random_.uniform(*BETWEEN_SECONDS))  # the instant is chance
                    safe, runs = dict(feeder.safe), runs_under(ledger, root)
                    copy = disks.cut(image, f"{kind}-{seed}-{number}.img")
                    claim = Claim(safe, dict(feeder.sent), runs, runs)
                    taken.append(Cut(copy, kind, claim, random_.getrandbits(32)))
                feeder.finish()
            finally:
                machine.end()
        image.unlink()
        left = cuts - len(taken)
        for number, one in enumerate(taken):
            again = left > 0 and (number % AGAIN_EACH == 0 or left >= len(taken) - number)
            left -= again
            self.recover(one, scratch, ledger, again=again)

    def recover(self, one: Cut, scratch: Path, ledger: Ledger, *, again: bool = False) -> None:
        """Start an ast3d on the copy, cut that once more if asked, give it peace, and look."""
        random_ = random.Random(one.seed)
        second = None
        with ExitStack() as stack:
            root = stack.enter_context(disks.mounted(one.image, one.kind))
            unrecorded = unrecorded_starts(root, one.claim)
            before = standing(root)
            machine = Machine(root, scratch)
            stack.callback(machine.end)
            try:
                if again:
                    machine.ready()
                    time.sleep(random_.uniform(*INTO_RECOVERY_SECONDS))
                    recent = runs_under(ledger, root)
                    claim = Claim(one.claim.owed, one.claim.possible, one.claim.runs + recent, recent)
                    copy = disks.cut(one.image, f"{one.image.stem}-again.img")
                    second = Cut(copy, one.kind, claim, random_.getrandbits(32))
                machine.ready()
                machine.idle()
                found = audit(root, one.claim, before, list(runs_under(ledger, root)))
                found += [] if machine.state() == "READY" else [Violation("wrong", f"ast3d is {machine.state()} at the end")]
            except StuckError as error:
                found = [Violation("lost", str(error))]
            self.count(one, len(before.manifests), found, unrecorded)
        one.image.unlink()
        if second:
            self.recover(second, scratch, ledger)

    def count(self, one: Cut, published: int, found: list[Violation], unrecorded: list[Violation]) -> None:
        """Add a cut to the tally."""
        found = [*found, *unrecorded]
        tally = self.tally
        tally.cuts += 1
        tally.frames += len(one.claim.owed)
        tally.unpublished += max(len(one.claim.owed) - published, 0)
        tally.starts_checked += len(one.claim.recent)
        tally.violations += found
        waiting = len(one.claim.owed) - published
        self.progress(f"cut {tally.cuts}: {one.image.name}, {published} published, {waiting} to do: {len(found)} violations")
        for violation in found:
            self.progress(f"  {violation}")


def runs_under(ledger: Ledger, root: Path) -> tuple[Path, ...]:
    """The program's runs on one disk until now."""
    return tuple(path for path in ledger.runs() if path.is_relative_to(root))


def campaign(n: int, folder: Path, seed: int = 1, progress: Progress = lambda _: None) -> Tally:
    """n power cuts; everything is made below `folder`, and the disks removed.  Raises NoDisksError."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    with disks.shelf(folder) as place:
        one = Campaign(place, scratch, progress)
        kinds = list(disks.KINDS)
        for number, first in enumerate(range(0, n, CUTS_A_LOAD)):
            one.load(kinds[number % len(kinds)], min(CUTS_A_LOAD, n - first), seed * 1000 + number)
    return one.tally
