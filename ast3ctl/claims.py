"""What a node among others works for, in the lines of `ast3ctl status`."""

from collections.abc import Iterator
from typing import Any


def lines(telescopes: dict[str, dict[str, Any]] | None) -> Iterator[str]:
    """A line for those that it works for, one for those that are parked, one for those that are fenced; None: no line."""
    if telescopes is None:
        return
    told: dict[str, list[str]] = {"working": [], "parked": [], "fenced": []}
    for name, claim in telescopes.items():
        told.setdefault(claim["state"], []).append(f"{name} ({_claim(claim)})")
    yield f"works  for {', '.join(told['working']) or 'no telescope'}"
    if told["parked"]:
        yield f"parked {', '.join(told['parked'])}: nothing starts until ast3-ha says so; is it running?"
    if told["fenced"]:
        yield f"fenced {', '.join(told['fenced'])}: another node works for it; `ast3ctl ha status` says which"


def _claim(claim: dict[str, Any]) -> str:
    if claim["state"] == "fenced":
        return f"epoch {claim['epoch']}, token {claim['token']}"
    if claim["own"]:
        return "own"
    left = f", for another {claim['seconds_left']:.0f} s" if claim["state"] == "working" else ""
    return f"token {claim['token']}{left}"
