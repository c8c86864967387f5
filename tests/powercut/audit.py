"""What must hold of a disk when the ast3d that was started on it after a power cut has had its peace."""

import json
import subprocess
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from tests.powercut.machine import BIN

CUTS_IN_A_ROW = 2  # at each, one attempt may have been started that did not run


@dataclass(frozen=True)
class Claim:
    """What was known at the cut.

    `owed`: the frames that were durable in the pool, or had been; `possible`: all whose rename had begun; name -> sha256.
    `runs`: the folders of the runs of the program that had begun on this disk, of those `recent` since its last boot.
    """

    owed: dict[str, str]
    possible: dict[str, str]
    runs: tuple[Path, ...]
    recent: tuple[Path, ...]


@dataclass(frozen=True)
class Standing:
    """What the copy held before ast3d was started on it: manifests by their path below the root."""

    manifests: dict[str, bytes]


@dataclass(frozen=True)
class Violation:
    """One thing that must not be; `kind`: lost, twice, quarantined, wrong, again, order."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def standing(root: Path) -> Standing:
    """To be taken before ast3d starts."""
    return Standing({str(path.relative_to(root)): path.read_bytes() for path in manifests(root)})


def manifests(root: Path) -> list[Path]:
    """Of everything published."""
    return sorted((root / "products").glob("ast3-1/*/*/manifest.json"))


def audit(root: Path, claim: Claim, before: Standing, runs: list[Path]) -> list[Violation]:
    """All that is wrong.  `runs`: the program's runs under this root since the cut."""
    found = [Violation("lost", f"{name} is still in the pool") for name in sorted(path.name for path in pool(root))]
    found += [Violation("quarantined", why(path)) for path in sorted((root / "quarantine").glob("ast3-1/*"))]
    published: dict[str, list[dict[str, Any]]] = {}
    for path in manifests(root):
        facts = json.loads(path.read_bytes())
        published.setdefault(facts["name"], []).append(facts)
        found += wrong_products(path.parent, facts)
    for name, digest in claim.possible.items():
        if name in claim.owed or name in published:
            found += wrong_frame(root, name, digest, published.get(name, []))
    for name, content in before.manifests.items():
        if not (root / name).exists() or (root / name).read_bytes() != content:
            found.append(Violation("twice", f"{name} stood at the cut and is another now"))
    return found + wrong_runs(claim, before, runs, [facts for many in published.values() for facts in many])


def pool(root: Path) -> list[Path]:
    """What lies in the task pool."""
    return list((root / "incoming" / "ast3-1").iterdir())


def why(folder: Path) -> str:
    """Why a frame is in quarantine."""
    try:
        return f"{folder.name}: {json.loads((folder / 'why.json').read_bytes())['reason']}"
    except (OSError, ValueError):
        return f"{folder.name}: without why.json"


def wrong_products(folder: Path, facts: dict[str, Any]) -> list[Violation]:
    """Every file is there with its checksum, and no other."""
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {"manifest.json"}
    found = (
        [] if there == set(facts["files"]) else [Violation("wrong", f"{folder} holds {there}, not {set(facts['files'])}")]
    )
    for name, about in facts["files"].items():
        digest = about["sha256"] if isinstance(about, dict) else about
        if name in there and sha256((folder / name).read_bytes()).hexdigest() != digest:
            found.append(Violation("wrong", f"{folder / name} is not what its manifest says"))
    return found


def wrong_frame(root: Path, name: str, digest: str, published: list[dict[str, Any]]) -> list[Violation]:
    """It is published once, of its own bytes, and archived once."""
    if not published:
        return [Violation("lost", f"{name} has no products")]
    facts = published[0]
    found = [Violation("twice", f"{name} is published {len(published)} times")] if len(published) > 1 else []
    if facts["frame"]["sha256"] != digest:
        found.append(Violation("wrong", f"{name}: the manifest tells of other bytes"))
    archived = sorted((root / "archive").glob(f"ast3-1/*/{facts['task']}*"))
    if len(archived) != 1:
        found.append(Violation("twice" if archived else "lost", f"{name} is archived {len(archived)} times"))
    elif sha256(archived[0].read_bytes()).hexdigest() != digest:
        found.append(Violation("lost", f"{archived[0]} does not hold the frame's bytes"))
    return found


def wrong_runs(claim: Claim, before: Standing, runs: list[Path], published: list[dict[str, Any]]) -> list[Violation]:
    """What was published runs no more; all else runs once, under the next attempt's number."""
    done = {Path(name).parent.name for name in before.manifests}
    times = Counter(path.stem for path in runs)
    found = [Violation("again", f"{task} stood at the cut and ran again") for task in sorted(done & times.keys())]
    found += [Violation("again", f"{task} ran {n} times after the cut") for task, n in times.items() if n > 1]
    tried: dict[str, int] = {}
    for path in claim.runs:
        tried[path.stem] = max(tried.get(path.stem, 0), int(path.suffix[1:]))
    for facts in published:
        task, attempt = facts["task"], facts["attempt"]
        if task not in done and not 1 <= attempt - tried.get(task, 0) <= 1 + CUTS_IN_A_ROW:
            found.append(
                Violation("order", f"{task} was published by attempt {attempt}, {tried.get(task, 0)} came before the cut")
            )
    return found


def unrecorded_starts(root: Path, claim: Claim) -> list[Violation]:
    """Of each run since the last boot before the cut the relog holds the START; to be taken before ast3d starts."""
    argv = [str(BIN / "ast3ctl"), "--root", str(root), "relog", "show", "--json"]
    shown = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    payloads = [record["payload"] for record in shown if record["type"] == "Started"]
    started = {(payload["task"], payload["attempt"]) for payload in payloads}
    runs = [(path.stem, int(path.suffix[1:])) for path in claim.recent]
    return [
        Violation("order", f"{task}.{n} ran, and its START was not durable") for task, n in runs if (task, n) not in started
    ]
