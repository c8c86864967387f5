"""What is needed to run an attempt again: noted by the worker that makes it, kept with a frame that is discarded.

The note (state/attempts/TASK.N.order) is written as the work begins, for work that hangs or is killed can write nothing
afterwards.  It is not synced, and an attempt goes on without it.  The checksums, which cost reading, are added only
when the frame goes to the quarantine (order.json).
"""

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ast3d.common import clock
from ast3d.common.files import sha256
from ast3d.order import Order

NAME = "order.json"
SUFFIX = ".order"
_VARIABLES = ("PATH", "LANG", "TZ")
_PREFIXES = ("LC_", "PYTHON", "OMP_", "OPENBLAS_", "MKL_", "NUMBA_")


def note(order: Order, assets: dict[str, Any], versions: dict[str, str]) -> None:
    """Write down what the attempt is given; `assets`: what was found to work with (`ast3d.assets`)."""
    facts = asdict(order) | {
        "out": str(order.out),
        "assets": assets,
        "versions": versions,
        "environment": {
            key: os.environ[key] for key in sorted(os.environ) if key in _VARIABLES or key.startswith(_PREFIXES)
        },
        "host": os.uname().nodename,
        "began": clock.stamp(),
    }
    with contextlib.suppress(OSError):
        Path(order.attempts, f"{order.task}.{order.attempt}{SUFFIX}").write_text(json.dumps(facts), encoding="ascii")


def completed(path: Path, frame: Path, progress: Callable[[], None]) -> bytes | None:
    """The note in `path` as order.json has it: with the sha256 of the frame, and of each asset that is unchanged since.

    None where there is no note that can be read.  `progress` is called now and then.
    """
    try:
        facts: dict[str, Any] = json.loads(path.read_bytes())
        facts["frame"] = {"path": facts["frame"], "bytes": facts["size"], "sha256": _sha256(frame, progress)}
        for asset in facts["assets"].values():
            if asset and "path" in asset:
                same = (about(Path(asset["path"])) or {}).items() <= asset.items()
                asset["sha256"] = _sha256(Path(asset["path"]), progress) if same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # as a power cut, or another version of ast3d, left it
    return json.dumps(facts, indent=1).encode("ascii")


def about(path: Path | None) -> dict[str, Any] | None:
    """What tells a file from a later one without reading it; None where there is none."""
    with contextlib.suppress(OSError):
        if path is not None:
            found = path.stat()
            return {"path": str(path), "bytes": found.st_size, "mtime_ns": found.st_mtime_ns}
    return None


def _sha256(path: Path, progress: Callable[[], None]) -> str | None:
    """None for what cannot be read."""
    with contextlib.suppress(OSError):
        return sha256(path, progress).hex()
    return None
