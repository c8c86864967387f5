"""What became of each frame, from outside: what the work told of itself, and what is published.

`Books.wrong` is what must never be; `Books.twice` is what may be (a frame computed by two nodes, of which one product was
accepted).  A frame is known by its name here: the camera makes no two of the same.
"""

import json
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple


class Run(NamedTuple):
    """One attempt as the work told of it; `ended` is infinite where it did not come to its end."""

    node: str
    telescope: str
    name: str
    began: float
    ended: float


class Product(NamedTuple):
    """One published folder; `at` is monotonic, from the file's own time."""

    node: str
    telescope: str
    name: str
    at: float
    claim: Mapping[str, Any]
    folder: Path


@dataclass(frozen=True)
class Books:
    """A site's, as they are at one time; `sent` as the camera has it."""

    sent: Mapping[str, Mapping[str, float]]
    runs: tuple[Run, ...]
    products: tuple[Product, ...]
    archived: tuple[Path, ...] = ()
    quarantined: tuple[Path, ...] = ()
    has_runs: bool = True
    provisional: frozenset[tuple[str, str]] = frozenset()  # (node, telescope)

    def since(self, at: float) -> "Books":
        """Of the frames that were delivered after an instant."""
        sent = {telescope: {n: t for n, t in names.items() if t >= at} for telescope, names in self.sent.items()}
        kept = {name for names in sent.values() for name in names}
        return Books(
            sent,
            tuple(run for run in self.runs if run.name in kept),
            tuple(product for product in self.products if product.name in kept),
            tuple(path for path in self.archived if _raw_name((path.name,)) in kept),
            tuple(path for path in self.quarantined if _raw_name((path.name,)) in kept),
            self.has_runs,
            self.provisional,
        )

    @property
    def frames(self) -> int:
        """How many there were."""
        return sum(map(len, self.sent.values()))

    def lost(self) -> list[str]:
        """Frames without a product; meaningful once all had the time for it."""
        there = {product.name for product in self.products}
        return sorted(name for names in self.sent.values() for name in names if name not in there)

    def computed_twice(self) -> list[str]:
        """Frames at which work began more than once, whoever did it and however the first one ended."""
        return sorted(name for name, runs in _by_name(self.runs).items() if len(runs) > 1)

    def accepted_twice(self) -> list[str]:
        """Frames with two products, or two raw frames in the archive."""
        kept = _by_name([(path.name,) for path in self.archived], key=_raw_name)
        twice = {name for name, found in _by_name(self.products).items() if len(found) > 1}
        return sorted(twice | {name for name, found in kept.items() if len(found) > 1})

    def misattributed(self) -> list[str]:
        """Products that name a node which did not do the work."""
        done = {(run.node, run.name) for run in self.runs if run.ended < float("inf")}
        return [p.name for p in self.products if p.node and self.has_runs and (p.node, p.name) not in done]

    def shared_tokens(self) -> list[str]:
        """Foreign claims under one token by two nodes: nobody was fenced by it.

        Not counted are nodes that worked for the telescope without etcd's word, as they may where it has no quorum.
        """
        holders = defaultdict(set)
        for product in self.products:
            if product.claim and not product.claim["own"] and (product.node, product.telescope) not in self.provisional:
                holders[product.telescope, product.claim["epoch"], product.claim["token"]].add(product.node)
        return [f"{t} {epoch}.{token}: {sorted(nodes)}" for (t, epoch, token), nodes in holders.items() if len(nodes) > 1]

    def went_back(self) -> list[str]:
        """Foreign products that began after one of a greater token of the same telescope was published."""
        began = {(run.node, run.name): run.began for run in self.runs}
        found = []
        for product in self.products:
            start = began.get((product.node, product.name))
            if not product.claim or product.claim["own"] or start is None:
                continue
            later = [q for q in self.products if q.telescope == product.telescope and _rank(q) > _rank(product)]
            found += [f"{product.name} by {product.node} after {q.name} by {q.node}" for q in later if q.at < start]
        return found

    def wrong(self, *, settled: bool = True) -> list[str]:
        """All that must not be, a line each; `settled`: every frame had its time."""
        lines = [f"lost {name}" for name in (self.lost() if settled else [])]
        lines += [f"accepted twice {name}" for name in self.accepted_twice()]
        lines += [f"not by whom it names {name}" for name in self.misattributed()]
        lines += [f"one token for two {text}" for text in self.shared_tokens()]
        lines += [f"a lower token after a greater one {text}" for text in self.went_back()]
        return lines + [f"quarantined {path.name}" for path in self.quarantined]

    def next_begin(self, telescope: str, after: float, besides: str = "") -> Run | None:
        """The first attempt of a telescope after an instant, by another node than `besides`."""
        found = [r for r in self.runs if r.telescope == telescope and r.began > after and r.node != besides]
        return min(found, key=lambda run: run.began, default=None)

    def next_product(self, telescope: str, after: float, besides: str = "") -> Product | None:
        """The same of products, where the work tells nothing."""
        found = [p for p in self.products if p.telescope == telescope and p.at > after and p.node != besides]
        return min(found, key=lambda product: product.at, default=None)

    def last_node(self, telescope: str, after: float = 0.0) -> str:
        """Who began last; empty if nobody since."""
        found = [run for run in self.runs if run.telescope == telescope and run.began > after]
        return max(found, key=lambda run: run.began).node if found else ""

    def gap(self, telescope: str, since: float, until: float, node: str = "") -> float:
        """The longest time without a beginning of one of its frames, by anybody or by one node."""
        ours = [r for r in self.runs if r.telescope == telescope and node in {"", r.node}]
        edges = [since, *sorted(r.began for r in ours if since <= r.began <= until), until]
        return max(b - a for a, b in pairwise(edges))


def read(
    shared: Path,
    ledger: Path,
    sent: Mapping[str, Mapping[str, float]],
    provisional: frozenset[tuple[str, str]] = frozenset(),
) -> Books:
    """All books of a site, as they are now; `provisional`: who worked for which telescope without etcd's word."""
    offset = time.time() - time.monotonic()
    products = []
    for file in sorted((shared / "products").glob("*/*/*/manifest.json")):
        facts, at = json.loads(file.read_bytes()), file.stat().st_mtime - offset
        facts.setdefault("node", "")
        products.append(Product(facts["node"], facts["telescope"], facts["name"], at, facts.get("claim") or {}, file.parent))
    archived = tuple(sorted(path for path in (shared / "archive").glob("*/*/*") if path.is_file()))
    quarantined = tuple(sorted((shared / "quarantine").glob("*/*")))
    copy = {telescope: dict(names) for telescope, names in sent.items()}
    told = tuple(runs(ledger))
    if not ledger.exists():  # what works tells nothing
        told = tuple(Run(p.node, p.telescope, p.name, p.at, p.at) for p in products)
    return Books(copy, told, tuple(products), archived, quarantined, ledger.exists(), provisional)


def runs(ledger: Path) -> list[Run]:
    """In the order in which they began."""
    text = ledger.read_text() if ledger.exists() else ""
    open_: dict[tuple[str, str], list[int]] = defaultdict(list)
    found: list[Run] = []
    for line in text.splitlines():
        what, node, telescope, name, at = line.split(" ")
        if what == "BEGIN":
            open_[node, name].append(len(found))
            found.append(Run(node, telescope, name, float(at), float("inf")))
        elif open_[node, name]:
            number = open_[node, name].pop()
            found[number] = found[number]._replace(ended=float(at))
    return found


def _by_name(items: Any, key: Any = lambda item: item.name) -> dict[str, list[Any]]:
    grouped: dict[str, list[Any]] = defaultdict(list)
    for item in items:
        grouped[key(item)].append(item)
    return grouped


def _raw_name(item: tuple[str]) -> str:
    """Of a raw frame in the archive: STEM-12HEX.fits."""
    return item[0].rsplit("-", 1)[0] + ".fits"


def _rank(product: Product) -> tuple[int, int]:
    return (product.claim["epoch"], product.claim["token"]) if product.claim else (-1, -1)
