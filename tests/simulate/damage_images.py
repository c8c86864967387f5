"""Damaged images of a log, each by a recipe, and what must hold of every one.

A recipe is `SEED:STEP+STEP`: the log's seed; first `kill` (all that was written is there) or `cut,LANDED,CHANGES` (a power
cut: the unsynced pieces with these bits, in hexadecimal, the first so many changes of the folder); then damage:
`truncate,FILE,BYTES`, `stale,FILE,SECTOR,WHICH`, `swap,FILE,SECTOR,FILE,SECTOR`, `burst,FILE,BYTE,WITH`, `unreadable,FILE`.

What must hold: reading raises nothing; what is read was appended, bit for bit, in rising order, each number once; what was
acknowledged is read or lies in a range of `report.missing`; or else the report says that the folder itself cannot be read.
Without damage all that was acknowledged is read.  ast3d's state is the fold of what was read.  What is then appended has
a new number, and is found by the next reader with all that was read before.
"""

import itertools
from dataclasses import dataclass, replace
from random import Random

from ast3d import records as r
from ast3d.codec import encode
from ast3d.common.relog.relog import Recovered, Relog, RelogError
from ast3d.core import Core
from ast3d.records import Totals
from tests.simulate.damage_disk import SECTOR, ImageDisk
from tests.simulate.damage_log import BOOTS, SEGMENT, Log, fold, meaning_of

BURST = 32
BURST_STEP = 8
WITH = ("random", "zeros", "ones", "flip")
EXHAUSTIVE_BITS = 12
KINDS = ("cut", "truncate", "stale", "swap", "burst", "both", "unreadable")


class ViolationError(Exception):
    """What must hold does not."""


class RefusalError(ViolationError):
    """ast3d would not have started."""


@dataclass(frozen=True)
class Outcome:
    """Of one image: how many records the report calls missing that never were acknowledged, and how many that were."""

    false_alarms: int
    lost: int


class Watched(Relog):
    """It keeps what it has recovered."""

    recovered: Recovered

    def recover(self) -> Recovered:
        self.recovered = super().recover()
        return Recovered(list(self.recovered.entries), self.recovered.report)


# --- recipes


def recipes(log: Log, most: int | None) -> list[str]:
    """All of a log, or so many of each kind as make about `most` together."""
    rng = Random(f"recipes {log.seed}")
    found = []
    for kind in KINDS:
        steps = _SOURCES[kind](log, rng)
        if most is not None and len(steps) > most // len(KINDS):
            steps = rng.sample(steps, most // len(KINDS))
        found += steps
    return [f"{log.seed}:{step}" for step in found]


def _cuts(log: Log, rng: Random) -> list[str]:
    bits, changes = len(log.disk.unsynced()), range(len(log.disk.changes) + 1)
    if bits <= EXHAUSTIVE_BITS:
        landed = list(range(1 << bits))
    else:
        landed = [0, (1 << bits) - 1, *(rng.getrandbits(bits) for _ in range(1 << EXHAUSTIVE_BITS))]
    return [f"cut,{mask:x},{count}" for mask in landed for count in changes]


def _truncations(log: Log, _rng: Random) -> list[str]:
    return [f"kill+truncate,{name},{size}" for name, data in _whole(log).items() for size in range(len(data))]


def _stale(log: Log, _rng: Random) -> list[str]:
    return [
        f"kill+stale,{name},{sector},{which}"
        for name, inode in log.disk.files.items()
        for sector, older in inode.older.items()
        for which in range(len(older))
    ]


def _swaps(log: Log, _rng: Random) -> list[str]:
    sectors = [(name, sector) for name, data in _whole(log).items() for sector in range(len(data) // SECTOR)]
    return [f"kill+swap,{a},{i},{b},{k}" for n, (a, i) in enumerate(sectors) for b, k in sectors[n + 1 :]]


def _bursts(log: Log, _rng: Random) -> list[str]:
    return [
        f"kill+burst,{name},{place},{content}"
        for name, data in _whole(log).items()
        for place in range(0, len(data), BURST_STEP)
        for content in WITH
    ]


def _both(log: Log, rng: Random) -> list[str]:
    """A power cut and one damage."""
    cuts = _cuts(log, rng)
    damages = [steps for source in (_truncations, _stale, _swaps, _bursts) for steps in [source(log, rng)] if steps]
    chosen = [rng.choice(rng.choice(damages)).removeprefix("kill") for _ in range(4000)]
    return [rng.choice(cuts) + damage for damage in chosen]


def _unreadable(log: Log, _rng: Random) -> list[str]:
    return [f"kill+unreadable,{name}" for name in (".", *log.disk.files)]


_SOURCES = {
    "cut": _cuts, "truncate": _truncations, "stale": _stale, "swap": _swaps, "burst": _bursts, "both": _both,
    "unreadable": _unreadable,
}  # fmt: skip


def _whole(log: Log) -> dict[str, bytes]:
    return {name: bytes(inode.cache) for name, inode in sorted(log.disk.files.items())}


def build(log: Log, recipe: str) -> ImageDisk:
    """The folder as the recipe says.  Damage to a file that a power cut has left out is none."""
    first, *damages = recipe.partition(":")[2].split("+")
    files, inodes = _whole(log), dict(log.disk.files)
    if first != "kill":
        _, landed, changes = first.split(",")
        files, inodes = log.disk.image(int(landed, 16), int(changes))
    unreadable: set[str] = set()
    for damage in damages:
        what, name, *args = damage.split(",")
        if what == "unreadable":
            unreadable.add(name)
        elif what == "swap":
            _swap(files, name, int(args[0]), args[1], int(args[2]))
        elif name in files:
            if what == "truncate":
                files[name] = files[name][: int(args[0])]
            elif what == "stale":
                older = inodes[name].older.get(int(args[0]), [])
                if int(args[1]) < len(older):
                    files[name] = _put(files[name], int(args[0]) * SECTOR, older[int(args[1])])
            else:
                files[name] = _put(files[name], int(args[0]), _burst(files[name], recipe, int(args[0]), args[1]))
    return ImageDisk(files, frozenset(unreadable))


def _put(data: bytes, place: int, piece: bytes) -> bytes:
    return (data[:place] + piece + data[place + len(piece) :])[: len(data)]


def _swap(files: dict[str, bytes], a: str, i: int, b: str, k: int) -> None:
    if a in files and b in files and (i + 1) * SECTOR <= len(files[a]) and (k + 1) * SECTOR <= len(files[b]):
        one, other = files[a][i * SECTOR : (i + 1) * SECTOR], files[b][k * SECTOR : (k + 1) * SECTOR]
        files[a] = _put(files[a], i * SECTOR, other)
        files[b] = _put(files[b], k * SECTOR, one)


def _burst(data: bytes, recipe: str, place: int, content: str) -> bytes:
    rng = Random(recipe)
    if content == "flip":
        hit = bytearray(data[place : place + BURST])
        if hit:
            hit[rng.randrange(len(hit))] ^= 1 << rng.randrange(8)
        return bytes(hit)
    return {"random": rng.randbytes(BURST), "zeros": bytes(BURST), "ones": b"\xff" * BURST}[content]


# --- what must hold


def check(log: Log, recipe: str, *, deep: bool = False) -> Outcome:
    """Raises a ViolationError.  `deep`: it goes on with a whole snapshot, and the next ast3d has the same state."""
    _hold(not log.violation, log.violation)
    disk = build(log, recipe)
    damaged = "+" in recipe
    folder_lost = "." in disk.unreadable
    relog, core = _start(disk)
    recovered = relog.recovered
    unacknowledged, lost = 0, set[int]()
    if folder_lost:
        _hold(any(damage.name == "." for damage in recovered.report.damaged), "nothing is said of an unreadable folder")
    else:
        lost = _check_entries(log, recovered)
        _hold(damaged or log.acknowledged.isdisjoint(lost), f"{sorted(lost)[:5]} were lost though nothing was damaged")
        unacknowledged = sum(1 for a, b in recovered.report.missing for seq in range(a, b + 1) if seq not in lost)
    _check_state(log, core, recovered)
    disk.unreadable = frozenset()
    _check_healing(log, disk, relog, core, deep=deep)
    return Outcome(unacknowledged, len(lost))


def _hold(condition: bool, what: str) -> None:
    if not condition:
        raise ViolationError(what)


def _start(disk: ImageDisk) -> tuple[Watched, Core]:
    relog = Watched(disk, BOOTS[-1], SEGMENT)
    core = Core(relog)
    try:
        core.recover()
    except Exception as error:
        raise RefusalError(f"recovery raised {error!r}") from error
    return relog, core


def _check_entries(log: Log, recovered: Recovered) -> set[int]:
    """-> the numbers that were acknowledged and are lost; all of them are reported."""
    numbers = [entry.seq for entry in recovered.entries]
    _hold(all(a < b for a, b in itertools.pairwise(numbers)), "not in rising order, each once")
    for entry in recovered.entries:
        _hold(log.record(entry) is not None, f"record {entry.seq} is not as it was appended")
    lost = log.acknowledged.difference(numbers)
    missing = recovered.report.missing
    unsaid = sorted(seq for seq in lost if not any(a <= seq <= b for a, b in missing))[:5]
    _hold(not unsaid, f"acknowledged records {unsaid} are neither there nor reported missing")
    _hold(not any(a <= seq <= b for a, b in missing for seq in numbers), "a record is there and reported missing")
    _hold(not lost or bool(recovered.report.problems()), "the report is silent")
    return lost


def _check_state(log: Log, core: Core, recovered: Recovered) -> None:
    known = [(entry.seq, log.record(entry)) for entry in recovered.entries]
    numbers = {seq for seq, _ in known}
    first = 0  # of the last snapshot of which nothing is missing; without one all is folded
    for seq, record in known:
        if isinstance(record, Totals) and numbers.issuperset(range(record.first, seq)):
            first = record.first
    meaning = fold(record for seq, record in known if seq >= first and record is not None)
    _hold(meaning_of(core.state) == meaning, "the state is not the fold of what was read")


def _check_healing(log: Log, disk: ImageDisk, relog: Watched, core: Core, *, deep: bool) -> None:
    """It goes on: nothing that was there is lost by that, and no number is given twice."""
    before = relog.recovered.entries
    try:
        if deep:
            core.settle(7000.0)
            core.settle(7010.0)  # where the folder could not be read, it is tried again
        elif relog._unread is not None:
            relog.restart()
        number = relog.append(*encode(r.Paused(7777.0)), 7777.0)
        relog.commit()
    except RelogError as error:
        raise ViolationError(f"it cannot go on: {error}") from error
    relog.close()
    taken = max([log.highest, *(entry.seq for entry in before)])
    _hold(number > taken, f"the number {number} is given again, {taken} was the last")
    if deep:
        _, next_core = _start(disk)
        _hold(
            meaning_of(next_core.state) == replace(meaning_of(core.state), paused_until=7777.0), "a snapshot lost something"
        )
        return
    next_relog, next_core = _start(disk)
    again = next_relog.recovered
    found = {entry.seq: entry for entry in again.entries}
    _hold(all(found.get(entry.seq) == entry for entry in before), "what was read is lost by going on")
    _hold(number in found and found[number].boottime == 7777.0, "what was then acknowledged is lost")
    _hold(next_core.state.paused_until == 7777.0, "what was then acknowledged is not folded")
    missing = (*relog.recovered.report.missing, *again.report.missing)  # who was told once need not be told again
    unsaid = [seq for seq in log.acknowledged.difference(found) if not any(a <= seq <= b for a, b in missing)]
    _hold(not unsaid, f"nobody was told that {sorted(unsaid)[:5]} are missing")
