"""Where attempts write what they make until it is published.  The only place that knows; standard library only."""

import re
from pathlib import Path

_ATTEMPT = re.compile(r".+-[0-9a-f]{12}\.[0-9]+")  # FRAME-ID.ATTEMPT


def work_folder(products: Path, node: str | None) -> Path:
    """It holds a folder FRAME-ID.ATTEMPT each.

    A node among others has one of its own: the products may be shared, and nobody sweeps what another makes.
    """
    return products / ".tmp" / node if node else products / ".tmp"


def is_of_attempt(name: str) -> bool:
    """Whether a name is FRAME-ID.ATTEMPT; no node is called so."""
    return _ATTEMPT.fullmatch(name) is not None
