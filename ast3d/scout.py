"""The scout: the helper process that looks at the task pools, and answers what a pool entry is.

The directory is the truth; an inotify event only says "look now".  One look serves start, event, overflow and timer.  What
it sees is reported once and again when it changes.  Where a pool cannot be watched it is looked at every second instead, as
is one on a file system that tells nothing of what other computers write.
"""

import contextlib
import errno
import os
import select
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from inotify_simple import INotify, flags

from ast3d import remote
from ast3d.common.clock import boottime
from ast3d.common.link import HelperEnd
from ast3d.common.parent import die_with_parent
from ast3d.entry import SIDECAR, identify, kind_of, open_regular, promised, published
from ast3d.quarantine import WHY
from ast3d.task import Arrival, Entry, FileKind, Place

EVENTS = (
    flags.CREATE | flags.CLOSE_WRITE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE | flags.DELETE_SELF | flags.MOVE_SELF
)
POLL_SECONDS = 1.0
BATCH = 500  # sightings a message
GATHER_SECONDS = 0.002  # what comes as a burst of events is looked at once; a frame that was renamed is whole

Known = tuple[FileKind, int, int, Arrival]  # kind, size, mtime_ns, arrival


@dataclass
class Pool:
    """One telescope's pool and what was last said of each of its entries."""

    telescope: str
    path: Path
    known: dict[str, Known] = field(default_factory=dict)
    watch: int = -1
    identity: tuple[int, int] = (0, 0)  # device and inode of the folder that is watched
    problem: str = ""
    silent: bool = False  # nobody tells what other computers do there


class Scout:
    """Serves one ast3d until it is gone."""

    def __init__(self, link: HelperEnd) -> None:
        self.link = link
        self.inotify: INotify | None = None
        self.pools: dict[str, Pool] = {}
        self.products = self.quarantine = Path()
        self.ignore: tuple[str, ...] = ()
        self.scan_seconds = 10.0
        self.next_scan = 0.0
        self.growing: dict[str, tuple[Path, int]] = {}

    def run(self) -> None:
        """Until ast3d is gone: EOFError."""
        while True:
            sources = [self.link.fileno(), *([self.inotify.fileno()] if self.inotify else [])]
            ready, _, _ = select.select(sources, [], [], max(self.next_scan - boottime(), 0) if self.pools else None)
            if self.link.fileno() in ready:
                for message in self.link.receive():
                    self.serve(message)
            if self.inotify and self.inotify.fileno() in ready:
                self.look_where_told()
            if self.pools and boottime() >= self.next_scan:
                self.scan()

    def serve(self, message: dict[str, Any]) -> None:
        """Do what ast3d asks."""
        if asked := message.get("watch"):
            self.watch(asked)
        elif asked := message.get("identify"):
            self.identify(Entry(Place(asked["telescope"], asked["name"]), asked["size"], asked["mtime_ns"]))
        elif asked := message.get("look"):
            self.look_again(Place(asked["telescope"], asked["name"]))
        elif asked := message.get("seek"):
            self.seek(asked)
        elif asked := message.get("watch_growth"):
            self.growing[asked["task"]] = (Path(asked["path"]), asked["size"])
        elif "ping" in message:
            self.link.send({"pong": message["ping"]})

    def watch(self, asked: dict[str, Any]) -> None:
        """Take these pools, watch first, then scan; a pool that stays is watched on, and what was known of it is kept."""
        self.products, self.quarantine = Path(asked["products"]), Path(asked.get("quarantine", os.devnull))
        self.ignore, self.scan_seconds = tuple(asked["ignore"]), asked["scan_seconds"]
        if self.inotify is None:
            self.begin_watching()
        before, self.pools = self.pools, {}
        for name, path in asked["pools"].items():
            pool = before.pop(name, None)
            if pool and pool.path != Path(path):
                self.unwatch(pool)
                pool = Pool(name, Path(path), pool.known)
            self.pools[name] = pool or Pool(name, Path(path))
        for pool in before.values():
            self.unwatch(pool)
            self.tell_gone([[pool.telescope, name] for name in pool.known])
        for pool in self.pools.values():
            with contextlib.suppress(OSError):  # the scan says what is wrong with it
                pool.path.mkdir(parents=True, exist_ok=True)
        self.scan()

    def begin_watching(self) -> None:
        """Without inotify all is polled."""
        try:
            self.inotify = INotify()
        except OSError as error:  # 128 instances a user
            self.link.send({"log": {"event": "pool.unwatched", "reason": f"inotify: {error.strerror}; polling instead"}})

    def unwatch(self, pool: Pool) -> None:
        """No more events of a pool."""
        if self.inotify and pool.watch >= 0:
            with contextlib.suppress(OSError):  # it went with its folder
                self.inotify.rm_watch(pool.watch)

    def scan(self) -> None:
        """Look at everything; then say so, with what was wrong."""
        silent = remote.read()
        for pool in self.pools.values():
            pool.problem = ""
            self.ensure_watched(pool, silent)
            self.look(pool, None)
        self.look_at_growing()
        self.next_scan = boottime() + (POLL_SECONDS if self.unwatched() else self.scan_seconds)
        self.link.send({"scanned": {"problems": [pool.problem for pool in self.pools.values() if pool.problem]}})

    def unwatched(self) -> bool:
        """Whether some pool must be polled."""
        return any(pool.watch < 0 or pool.silent for pool in self.pools.values())

    def ensure_watched(self, pool: Pool, silent: Collection[int]) -> None:
        """The folder that has the pool's name now is the one that is watched; `silent`: devices that tell nothing."""
        try:
            about = pool.path.stat()
        except OSError as error:
            pool.watch, pool.problem = -1, f"pool {pool.path}: {error.strerror}; bring it back, frames wait there"
            return
        pool.silent = about.st_dev in silent
        identity = about.st_dev, about.st_ino
        if self.inotify is None or (pool.watch >= 0 and pool.identity == identity):
            return
        try:
            pool.watch, pool.identity = self.inotify.add_watch(pool.path, EVENTS), identity
        except OSError as error:
            hint = "; raise fs.inotify.max_user_watches" if error.errno == errno.ENOSPC else ""
            pool.watch, pool.problem = -1, f"pool {pool.path} is polled, not watched: {error.strerror}{hint}"

    def look_where_told(self) -> None:
        """Drain the events; look at what they name, or at everything after an overflow."""
        assert self.inotify is not None
        events = self.inotify.read(timeout=0)
        if any(not event.mask & flags.MOVED_TO for event in events):
            time.sleep(GATHER_SECONDS)
            events += self.inotify.read(timeout=0)
        watched = {pool.watch for pool in self.pools.values()}
        named: dict[int, set[str]] = {}
        renamed: dict[int, set[str]] = {}
        for event in events:
            if event.mask & flags.Q_OVERFLOW:
                self.link.send({"log": {"event": "pool.overflow", "reason": "too many events at once; looking at all"}})
                self.scan()
                return
            if event.wd not in watched:
                continue  # of a pool that is not looked at any more
            if event.mask & (flags.DELETE_SELF | flags.MOVE_SELF | flags.IGNORED):
                self.scan()
                return
            name = event.name.removesuffix(SIDECAR)
            named.setdefault(event.wd, set()).add(name)
            if event.mask & flags.MOVED_TO and name == event.name:
                renamed.setdefault(event.wd, set()).add(name)
        for pool in self.pools.values():
            if pool.watch in named:
                self.look(pool, named[pool.watch], renamed.get(pool.watch, set()))

    def look(self, pool: Pool, names: set[str] | None, renamed: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Report what is new, changed or gone among `names` (None: all)."""
        try:
            listed = set(os.listdir(pool.path)) if names is None else names
        except OSError as error:
            pool.problem = pool.problem or f"pool {pool.path}: {error.strerror}"
            return
        gone = [name for name in (pool.known if names is None else names & pool.known.keys()) if name not in listed]
        sightings: list[dict[str, Any]] = []
        for name in sorted(listed):
            if any(fnmatchcase(name, pattern) for pattern in self.ignore):
                continue
            seen = self.inspect(pool, name, was_renamed=name in renamed)
            if seen is None:
                gone += [name] * (name in pool.known)
            elif seen != pool.known.get(name):
                pool.known[name] = seen
                sightings.append(self.describe(pool, name, seen))
        for name in gone:
            del pool.known[name]
        self.tell_gone([[pool.telescope, name] for name in gone])
        for start in range(0, len(sightings), BATCH):
            self.link.send({"sighted": sightings[start : start + BATCH]})

    def look_again(self, place: Place) -> None:
        """Tell of an entry whatever was told before; also that it is gone, for ast3d may not know."""
        pool = self.pools.get(place.telescope)
        if pool is None or self.inspect(pool, place.name, was_renamed=False) is None:
            if pool is not None:
                pool.known.pop(place.name, None)
            self.tell_gone([[place.telescope, place.name]])
            return
        pool.known.pop(place.name, None)
        self.look(pool, {place.name})

    def tell_gone(self, gone: list[list[str]]) -> None:
        """[telescope, name] of each entry that is not there."""
        for start in range(0, len(gone), BATCH):
            self.link.send({"gone": gone[start : start + BATCH]})

    def inspect(self, pool: Pool, name: str, *, was_renamed: bool) -> Known | None:
        """What lies under a name; None for nothing, and for folders."""
        try:
            about = (pool.path / name).lstat()
        except OSError:
            return None
        kind = kind_of(about.st_mode)
        if kind is None:
            return None
        before = pool.known.get(name)
        arrival: Arrival = "listed"
        if was_renamed or (before and before[1:] == (about.st_size, about.st_mtime_ns, "renamed")):
            arrival = "renamed"
        elif os.path.lexists(f"{pool.path}/{name}{SIDECAR}"):  # False, not an error, where that name is too long
            arrival = "done"
        return kind, about.st_size, about.st_mtime_ns, arrival

    def describe(self, pool: Pool, name: str, seen: Known) -> dict[str, Any]:
        """The sighting as it is sent."""
        kind, size, mtime_ns, arrival = seen
        needs = 0
        if kind == "regular":
            fd = open_regular(pool.path / name)
            if fd is not None:
                needs = 2880 if size == 0 else promised(fd)
                os.close(fd)
        return {"telescope": pool.telescope, "name": name, "kind": kind, "size": size, "mtime_ns": mtime_ns,
                "arrival": arrival, "needs": needs}  # fmt: skip

    def identify(self, entry: Entry) -> None:
        """Answer with the frame-id, unless the entry is no longer what was asked about: then look at it again."""
        pool = self.pools.get(entry.place.telescope)
        seen = self.inspect(pool, entry.place.name, was_renamed=False) if pool else None
        if pool is None or seen is None or seen[1:3] != (entry.size, entry.mtime_ns):
            self.look_again(entry.place)
            return
        task = identify(pool.path / entry.place.name, entry)
        answer = {"telescope": pool.telescope, "name": entry.place.name, "size": entry.size, "mtime_ns": entry.mtime_ns,
                  "task": task, "published": published(self.products / pool.telescope, task)}  # fmt: skip
        self.link.send({"identified": answer})

    def seek(self, asked: dict[str, Any]) -> None:
        """Answer where a frame went that left its pool: another node has published it, or given it up, or it is lost."""
        task, telescope = asked["task"], asked["telescope"]
        where = published(self.products / telescope, task)
        if not where and os.path.lexists(self.quarantine / telescope / task / WHY):
            where = "quarantine"
        self.link.send({"sought": {"task": task, "where": where, "reason": asked["reason"]}})

    def look_at_growing(self) -> None:
        """Discarded as incomplete, but somebody goes on writing."""
        for task, (path, size) in list(self.growing.items()):
            try:
                now = path.stat().st_size
            except OSError:
                del self.growing[task]
                continue
            if now != size:
                del self.growing[task]
                self.link.send({"grew": task})


def main() -> None:
    """The socket to ast3d, and its pid: what outlived it would work beside its successor."""
    die_with_parent(int(sys.argv[2]))
    try:
        Scout(HelperEnd(int(sys.argv[1]))).run()
    except EOFError:
        return


if __name__ == "__main__":
    main()
