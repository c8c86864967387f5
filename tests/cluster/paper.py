"""What is written down for a node: its configuration, and what etcd of its site is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CLIENT_PORT, PEER_PORT, SLOW_PORT, WITNESS_PORT = 2379, 2380, 2378, 4471


@dataclass(frozen=True)
class Plan:
    """How a cluster is made; what two rows have in common they can share.

    `telescopes`: name -> (node, array); `members`: the nodes with etcd; `ha`: more keys of that section; `work`: how many
    seconds a frame takes, None: real photometry; `quota`: bytes that etcd may store, 0: its own; `slow`: etcd is asked
    through proxies; `tls`: with certificates; `clocks`: wall clocks can be put wrong; `disks`: nodes with a state disk of
    their own.
    """

    nodes: tuple[str, ...] = ("a", "b", "c")
    telescopes: Mapping[str, tuple[str, str | None]] = field(
        default_factory=lambda: {"t1": ("a", None), "t2": ("b", None), "t3": ("c", None)}
    )
    members: tuple[str, ...] = ("a", "b", "c")
    spares: tuple[str, ...] = ()
    ha: Mapping[str, Any] = field(default_factory=dict)
    work: float | None = 0.2
    cadence: float = 1.0
    quota: int = 0
    slow: bool = False
    tls: bool = False
    clocks: bool = False
    disks: tuple[str, ...] = ()

    def owner(self, telescope: str) -> str:
        """Whose it is."""
        return self.telescopes[telescope][0]

    def key(self) -> str:
        """Two plans with the same key mean the same cluster."""
        return repr(self)


def endpoints(plan: Plan, addresses: Mapping[str, str]) -> list[str]:
    """Where etcd is asked."""
    scheme, port = "https" if plan.tls else "http", SLOW_PORT if plan.slow else CLIENT_PORT
    return [f"{scheme}://{addresses[name]}:{port}" for name in plan.members]


def configuration(
    plan: Plan, node: str, addresses: Mapping[str, str], site: Path, command: list[str], more: Mapping[str, Any]
) -> str:
    """The text of the node's ast3d.yaml; `more` goes over the section of its name."""
    sections: dict[str, Any] = {
        "telescopes": {name: {"node": owner, "array": array} for name, (owner, array) in plan.telescopes.items()},
        "nodes": {
            name: {"address": f"{addresses[name]}:{WITNESS_PORT}", "spare": name in plan.spares} for name in plan.nodes
        },
        "pool": {"settle_seconds": 0.1, "scan_seconds": 1.0},
        "worker": {"slots": 2, "backoff_seconds": 1.0, "backoff_limit_seconds": 4},
        "pipeline": {"command": command or None},
        "ha": {
            "node": node,
            "etcd": endpoints(plan, addresses),
            "key_file": str(site / "ha.key"),
            "handback_after_seconds": 5.0,
            "flap_seconds": 1.0,  # the same node is cut off again and again
            **({"etcd_ca": str(site / "tls/ca.crt"), "etcd_cert": str(site / "tls/node.crt")} if plan.tls else {}),
            **({"etcd_key": str(site / "tls/node.key")} if plan.tls else {}),
            **plan.ha,
        },
    }
    for name, values in more.items():
        sections[name] = {**sections.get(name, {}), **values}
    return "".join(f"{name}: {json.dumps(values)}\n" for name, values in sections.items()) + "...\n"


def member(plan: Plan, node: str, addresses: Mapping[str, str], root: Path, site: Path) -> list[str]:
    """The command line of the node's etcd."""
    here, scheme = addresses[node], "https" if plan.tls else "http"
    peers = ",".join(f"{name}=http://{addresses[name]}:{PEER_PORT}" for name in plan.members)
    argv = ["etcd", "--name", node, "--data-dir", str(root / "etcd"), "--initial-cluster", peers]
    argv += [
        "--listen-peer-urls",
        f"http://{here}:{PEER_PORT}",
        "--initial-advertise-peer-urls",
        f"http://{here}:{PEER_PORT}",
    ]
    client = f"{scheme}://{here}:{CLIENT_PORT}"
    argv += ["--listen-client-urls", f"{client},http://127.0.0.1:{CLIENT_PORT}", "--advertise-client-urls", client]
    argv += ["--heartbeat-interval", "100", "--election-timeout", "1000", "--initial-cluster-token", site.name]
    argv += ["--quota-backend-bytes", str(plan.quota)] if plan.quota else []
    if plan.tls:
        argv += ["--cert-file", str(site / "tls/server.crt"), "--key-file", str(site / "tls/server.key")]
        argv += ["--client-cert-auth", "--trusted-ca-file", str(site / "tls/ca.crt")]
    return argv
