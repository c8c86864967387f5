"""What keeps an ast3d busy: small healthy frames that come durably, and a program that tells of each of its runs."""

import os
import random
import threading
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from ast3d.common.files import sync_dir

IN_POOL = 12  # frames at most wait at once, so that a recovery does not take long
CONFIGURATION = """\
pipeline: {command: [/bin/sh, "%s", "{frame}", "{out}", "%s"]}
pool: {settle_seconds: 0.1, incomplete_seconds: 1, scan_seconds: 1}
worker: {slots: 2, backoff_seconds: 0.1}
...
"""
# The run is told first, outside the disk that is cut.  The name says how many milliseconds the work takes.
PROGRAM = """\
echo "$2" >> "$3"
name=${1%.fits}; milliseconds=${name##*-}
[ "$milliseconds" = 000 ] || sleep "0.$milliseconds"
cat "$1" > "$2/copy"
"""


@dataclass
class Ledger:
    """Every run of the program, of every machine: the folder that it was to fill, in the order in which they began."""

    path: Path

    def runs(self) -> list[Path]:
        """All until now; whole lines, for each is written at once."""
        return [Path(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []


def configure(root: Path, scratch: Path) -> Ledger:
    """Make a root whose frames go through the program; -> where the runs are told."""
    program, ledger = scratch / "program", scratch / "ledger"
    program.write_text(PROGRAM)
    (root / "etc").mkdir()
    (root / "etc" / "ast3d.yaml").write_text(CONFIGURATION % (program, ledger))
    (root / "aside").mkdir()
    os.sync()
    return Ledger(ledger)


def frame(random_: random.Random) -> bytes:
    """A small valid FITS, unlike all others."""
    size = random_.randrange(1, 4 * 2880)
    night = random_.randrange(1, 4)
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    1",
             f"NAXIS1  = {size:20d}", f"DATE-OBS= '2026-06-0{night}T18:00:00'", "END"]  # fmt: skip
    data = random_.randbytes(size)
    return "".join(card.ljust(80) for card in cards).encode().ljust(2880) + data.ljust(-(-size // 2880) * 2880, b"\0")


@dataclass
class Feeder(threading.Thread):
    """Renames frames into a pool as fast as they leave it, each durable before the next.

    `durable=False` leaves out the syncs, and claims that it did not.
    `sent` grows before a rename, `safe` after it is durable: name -> sha256.
    """

    root: Path
    seed: int
    durable: bool = True
    sent: dict[str, str] = field(default_factory=dict)
    safe: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self._enough = threading.Event()

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Until `finish`."""
        pool, random_ = self.root / "incoming" / "ast3-1", random.Random(self.seed)
        while not self._enough.is_set():
            if len(os.listdir(pool)) >= IN_POOL:
                time.sleep(0.002)  # a pool of another machine gives no event
                continue
            name = f"f{len(self.sent)}-{random_.choice((0, 0, random_.randrange(100))):03d}.fits"
            data = frame(random_)
            aside = self.root / "aside" / name
            with aside.open("wb") as file:
                file.write(data)
                file.flush()
                if self.durable:
                    os.fsync(file.fileno())
            digest = self.sent[name] = sha256(data).hexdigest()
            aside.rename(pool / name)
            if self.durable:
                sync_dir(pool)
            self.safe[name] = digest

    def finish(self) -> None:
        """No more frames."""
        self._enough.set()
        self.join()
