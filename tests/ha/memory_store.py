"""A store in memory, whose failures are ordered beforehand."""

from ha.store import Entry, LeaseGoneError, StoreUnreachableError


class MemoryStore:
    """`fail` maps the number of a call (from 1) to what it raises; `lost` are calls that are done, and then raise."""

    def __init__(self):
        self.entries, self.leases, self.revision, self.calls = {}, set(), 1, []
        self.fail, self.lost, self.renews_anything = {}, set(), False
        self.member = "memory"

    def grant(self, seconds):
        self.call("grant", seconds)
        lease = 100 + len(self.calls)
        self.leases.add(lease)
        return lease

    def renew(self, lease):
        self.call("renew", lease)
        return lease in self.leases or self.renews_anything

    def txn(self, expect, put, delete=(), lease=0):
        self.call("txn", dict(put), lease)
        if lease and lease not in self.leases:
            raise LeaseGoneError(lease)
        if any((self.entries[key].revision if key in self.entries else 0) != found for key, found in expect.items()):
            return False
        self.revision += 1
        for key, value in put.items():
            self.entries[key] = Entry(value, self.revision, lease)
        for key in delete:
            self.entries.pop(key, None)
        if len(self.calls) in self.lost:
            raise StoreUnreachableError("lost")
        return True

    def read(self):
        self.call("read")
        return dict(self.entries)

    def call(self, *what):
        self.calls.append(what)
        if error := self.fail.get(len(self.calls)):
            raise error

    def end(self, lease):
        """Of time, or an etcd that thinks so."""
        self.leases.discard(lease)
        self.entries = {key: entry for key, entry in self.entries.items() if entry.lease != lease}

    @property
    def verbs(self):
        return [call[0] for call in self.calls]
