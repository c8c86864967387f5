"""A store in memory, for the simulation: what etcd guarantees, and on request what it does wrongly.

Time arrives from outside: `now` is set before each call.
"""

from collections.abc import Mapping

from ha.store import Entry


class MemoryStore:
    """Linearizable, with leases; `revoke` takes a lease away before its time, as etcd's 3.4.23 does."""

    member = "memory"

    def __init__(self) -> None:
        self.now = 0.0
        self.leases: dict[int, tuple[float, float]] = {}  # lease -> (its seconds, its end)
        self.entries: dict[str, Entry] = {}
        self.revision = 0
        self._granted = 0

    def grant(self, seconds: int) -> int:
        """-> a new lease."""
        self._granted += 1
        self.leases[self._granted] = float(seconds), self.now + seconds
        return self._granted

    def renew(self, lease: int) -> bool:
        """False where it is gone."""
        self._expire()
        if lease not in self.leases:
            return False
        seconds, _ = self.leases[lease]
        self.leases[lease] = seconds, self.now + seconds
        return True

    def txn(
        self, expect: Mapping[str, int], put: Mapping[str, str], delete: tuple[str, ...] | list[str] = (), lease: int = 0
    ) -> bool:
        """Whole, or False and nothing."""
        self._expire()
        if any((self.entries[key].revision if key in self.entries else 0) != revision for key, revision in expect.items()):
            return False
        if lease and lease not in self.leases:
            return False
        self.revision += 1
        for key in delete:
            self.entries.pop(key, None)
        for key, value in put.items():
            self.entries[key] = Entry(value, self.revision, lease)
        return True

    def read(self) -> dict[str, Entry]:
        """All that there is."""
        self._expire()
        return dict(self.entries)

    def revoke(self, lease: int) -> None:
        """A lease is gone, with all that it held."""
        self.leases.pop(lease, None)
        self._drop()

    def extend(self) -> None:
        """A new leader gives every lease its whole time again."""
        self.leases = {lease: (seconds, self.now + seconds) for lease, (seconds, _) in self.leases.items()}

    def _expire(self) -> None:
        ended = [lease for lease, (_, end) in self.leases.items() if end <= self.now]
        if ended:
            for lease in ended:
                del self.leases[lease]
            self._drop()

    def _drop(self) -> None:
        gone = [key for key, entry in self.entries.items() if entry.lease and entry.lease not in self.leases]
        if gone:
            self.revision += 1
            for key in gone:
                del self.entries[key]
