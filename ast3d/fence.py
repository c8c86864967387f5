"""The fence of a telescope: who works for it under an older claim than another has raised it to publishes nothing.

products/.fence/TELESCOPE/EPOCH.TOKEN.NODE, empty files on a store that all nodes share; the greatest (EPOCH, TOKEN) is the
fence.  Each is made once, by O_EXCL, and never written; nothing is renamed or counted, so nodes that raise it at the same
time, be it over NFS, only add names to the folder.  A lower one is removed only when the greater one is durable: at no time,
power cuts included, is the fence lower than it was.

Foreign work is kept out by any greater claim.  A node's own work is kept out only by a greater epoch: that its telescope was
assigned to another; it goes on while another stands in for it without need, and a frame that both make is accepted once.
"""

import contextlib
import os
import re
from pathlib import Path

from ast3d.claim import Claim, Rank
from ast3d.common.files import sync_dir, sync_up

_NAME = re.compile(r"([0-9]{1,19})\.([0-9]{1,19})\..+")


class FencedError(Exception):
    """The work of a claim is accepted no more; `rank` is that of the claim."""

    def __init__(self, telescope: str, claim: Claim, fence: Rank) -> None:
        is_at, was = f"epoch {fence[0]}, token {fence[1]}", f"epoch {claim.epoch}, token {claim.token}"
        super().__init__(f"fenced: the fence of {telescope} is at {is_at}, and this work is of {was}")
        self.rank = claim.rank


def raise_to(products: Path, telescope: str, claim: Claim, node: str) -> None:
    """Before work: from here on, durably, no older claim's work is accepted.

    FencedError where this one's is not; OSError.
    """
    folder = products / ".fence" / telescope
    check(products, telescope, claim)
    if height(folder) < claim.rank:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # by an earlier attempt
            os.close(os.open(folder / _name(claim, node), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        sync_up(folder, products)
    else:
        sync_dir(folder)  # whoever made it may have been killed before that
    _remove_below(folder, claim.rank)
    check(products, telescope, claim)


def check(products: Path, telescope: str, claim: Claim) -> None:
    """Right before products get their name.  FencedError where the work of this claim is accepted no more; OSError."""
    fence = height(products / ".fence" / telescope)
    if fence[0] > claim.epoch if claim.own else fence > claim.rank:
        raise FencedError(telescope, claim, fence)


def height(folder: Path) -> Rank:
    """The greatest claim that the fence was raised to; (-1, -1): none.  OSError where the folder cannot be read."""
    return max(filter(None, map(_rank, _names(folder))), default=(-1, -1))


def _names(folder: Path) -> list[str]:
    """As they are now: over NFS, to open a folder is to ask the server whether what is cached of it still holds."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def _name(claim: Claim, node: str) -> str:
    return f"{claim.epoch}.{claim.token}.{node}"


def _rank(name: str) -> Rank | None:
    match = _NAME.fullmatch(name)
    return (int(match[1]), int(match[2])) if match else None


def _remove_below(folder: Path, rank: Rank) -> None:
    """What is needless, for the fence stands higher, durably."""
    for name in _names(folder):
        if (_rank(name) or rank) < rank:
            with contextlib.suppress(OSError):
                (folder / name).unlink()
