"""What ast3-ha says with the verb `assign`, taken strictly: `{"boot": BOOT-ID, "claims": {TELESCOPE: {"epoch", "token",
"own", "deadline"}}}`, all that the node works for.  Pure.
"""

import math
from collections.abc import Mapping
from typing import Any

from ast3d.claim import Claim
from ast3d.common.config import MAX_TELESCOPES
from ast3d.common.rules import NAME
from ast3d.common.strict_yaml import Scalar

_MOST = (1 << 63) - 1


def claims_of(args: Mapping[str, Any]) -> tuple[str, dict[str, Claim]]:
    """-> the boot id and the claims; ValueError says in one line what is wrong."""
    _require_keys(args, {"boot", "claims"}, "args")
    boot, told = args["boot"], args["claims"]
    if type(boot) is not str or not boot:
        raise ValueError("boot: a boot id is needed")
    if type(told) is not dict or len(told) > MAX_TELESCOPES:
        raise ValueError(f"claims: at most {MAX_TELESCOPES} telescopes with a claim each are needed")
    return boot, {_name(name): _claim(claim, f"claims of {name!a}") for name, claim in told.items()}


def _name(name: str) -> str:
    try:
        return str(NAME.take(Scalar(name, 1)))
    except ValueError:
        raise ValueError(f"claims: {ascii(name)[:80]} is no telescope") from None


def _claim(told: Any, what: str) -> Claim:
    _require_keys(told, {"epoch", "token", "own", "deadline"}, what)
    epoch, token, own, deadline = told["epoch"], told["token"], told["own"], told["deadline"]
    for number in (epoch, token):
        if type(number) is not int or not 0 <= number <= _MOST:
            raise ValueError(f"{what}: epoch and token are whole numbers from 0 to {_MOST}")
    if type(own) is not bool:
        raise ValueError(f"{what}: own is true or false")
    if deadline is None and own:
        return Claim(epoch, token, own=True)
    if type(deadline) not in {int, float} or not -_MOST <= deadline <= _MOST or not math.isfinite(deadline):
        raise ValueError(f"{what}: deadline is a time, or null for a telescope of its own")
    return Claim(epoch, token, own, float(deadline))


def _require_keys(told: Any, keys: set[str], what: str) -> None:
    if not isinstance(told, dict) or told.keys() != keys:
        raise ValueError(f"{what}: exactly {', '.join(sorted(keys))} are needed")
