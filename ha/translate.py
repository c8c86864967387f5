"""What the configuration, the helpers and the state file say, as the nouns of `ha.cluster`; and back.  Pure."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from ast3d.common.config import Config
from ast3d.common.link import Message
from ha import effects
from ha import inputs as i
from ha.cluster import Daemon, Home, Ownership, Settings, Standing
from ha.keys import presence_key, read_ownership, read_view, write_presence
from ha.plan import Mode, NoQuorum, Policy, Takeover


def settings_of(config: Config) -> Settings:
    """What decisions need of the configuration."""
    ha = config.ha
    policy = Policy(
        tuple(config.nodes),
        frozenset(name for name, node in config.nodes.items() if node.spare),
        cast("Mode", ha.mode),
        cast("Takeover", ha.takeover),
        cast("NoQuorum", ha.no_quorum),
    )
    telescopes = {name: Home(telescope.node or "", telescope.array) for name, telescope in config.telescopes.items()}
    return Settings(
        ha.node or "", policy, telescopes, ha.lease_seconds, ha.able_seconds, ha.handback_after_seconds, ha.flap_seconds,
        ha.quorum_seconds,
    )  # fmt: skip


def store_order(config: Config) -> Message:
    """Where etcd is, for the courier."""
    ha = config.ha
    return {
        "etcd": {
            "endpoints": list(ha.etcd), "ca": ha.etcd_ca, "cert": ha.etcd_cert, "key": ha.etcd_key, "user": ha.etcd_user,
            "password_file": ha.etcd_password_file, "prefix": ha.prefix,
        }
    }  # fmt: skip


def probe_order(config: Config, period: float) -> Message:
    """Whom the prober is to ask."""
    peers = {name: node.address for name, node in config.nodes.items() if name != config.ha.node}
    about = {"me": config.ha.node, "peers": peers, "key_file": config.ha.key_file, "serial": config.ha.serial}
    return {"ask": about | {"period": period}}


def cycle_order(effect: effects.Cycle, node: str, number: int) -> Message:
    """What the courier is to do."""
    changes = [{"expect": dict(txn.expect), "put": dict(txn.put), "delete": list(txn.delete)} for txn in effect.changes]
    presence = [presence_key(node), write_presence(effect.presence)]
    lease = {"lease": effect.lease, "seconds": effect.lease_seconds}
    return {"cycle": {"n": number, **lease, "presence": presence, "txns": changes}}


def cycled(said: Mapping[str, Any], now: float) -> i.Cycled:
    """The courier's answer."""
    entries = said["entries"]
    view = None
    if entries is not None:
        view = read_view(said["read_at"], {key: (value, revision) for key, (value, revision, _) in entries.items()})
    about = (said["lease"], said["gone"], said["granted"], said["renewed_at"])
    return i.Cycled(now, *about, view, said["problem"], said["namesake"])


def round_ended(said: Mapping[str, Any], now: float) -> i.RoundEnded:
    """The prober's answer."""
    standings = {
        node: Standing(about["at"], about["able"], about["reason"], frozenset(about["works"]), about["problem"])
        for node, about in said.items()
        if about["at"] is not None
    }
    return i.RoundEnded(now, standings)


def claims_of(effect: effects.Tell) -> dict[str, Any]:
    """The claims as ast3d takes them."""
    return {telescope: asdict(claim) for telescope, claim in effect.claims.items()}


def daemon_told(said: Mapping[str, Any], now: float) -> i.DaemonTold:
    """ast3d's answer, as the liaison heard it."""
    answer = said["answer"]
    daemon = None
    if answer is not None:
        daemon = Daemon(
            answer["served"], answer["ill"], answer["broken"], dict(answer["running"]), dict(answer["waiting"]),
            {telescope: (epoch, token) for telescope, (epoch, token) in answer["fenced"].items()},
        )  # fmt: skip
    return i.DaemonTold(now, frozenset(said["claimed"]), daemon, said["problem"])


def remember(telescopes: Mapping[str, Ownership]) -> bytes:
    """The state file."""
    return json.dumps({"telescopes": {name: asdict(known) for name, known in telescopes.items()}}, indent=1).encode()


def recall(data: bytes) -> dict[str, Ownership]:
    """What the state file says, as far as it can be understood.  ValueError where it is none."""
    try:
        told = json.loads(data)["telescopes"].items()
    except (TypeError, LookupError, AttributeError, RecursionError) as error:
        raise ValueError("it is not what ast3-ha writes") from error
    found = {}
    for name, said in told:
        token = said.get("token") if isinstance(said, dict) else None
        known = read_ownership(said, token) if type(token) is int else None
        if known:
            found[name] = known
    return found
