"""What an agent knows.  Only `ha.fold` changes it."""

import math
from dataclasses import dataclass, field

from ha.cluster import Daemon, Order, Ownership, Settings, Standing, View

NEVER = -math.inf
UNKNOWN = "ast3d has not answered yet"


@dataclass
class State:
    """Everything that decisions rest on."""

    settings: Settings = field(default_factory=Settings)
    began: float = 0.0
    telescopes: dict[str, Ownership] = field(default_factory=dict)  # as last known, from etcd or from before
    view: View | None = None  # etcd's last answer
    gone_since: dict[str, float] = field(default_factory=dict)  # nodes whose lease etcd does not have
    well_since: dict[str, float] = field(default_factory=dict)  # nodes that etcd has, and that say that they are able
    held_since: dict[str, float] = field(default_factory=dict)  # telescopes: when their holder was seen to change
    lease: int = 0
    lease_until: float = NEVER
    lease_seconds: int = 0  # as it was granted
    lease_lost: float = NEVER  # since when there is none although there was
    regrants: int = 0
    last_gap: float = 0.0
    usurped: int = 0  # how often in a row another has put this node's presence
    trouble: str = ""  # with etcd
    trouble_since: float = NEVER
    trouble_told: bool = False
    asked: float = NEVER  # when the courier was sent; NEVER: it is here
    asked_seconds: int = 0  # of the lease that it asks for
    standings: dict[str, Standing] = field(default_factory=dict)
    probed: float = NEVER  # the last round on the second path
    daemon: Daemon | None = None  # ast3d's last answer
    claimed: frozenset[str] = frozenset()  # what it was told then
    answering_since: float = NEVER
    deaf_since: float = NEVER  # since when it gives no answer; NEVER: it answers
    deaf_reason: str = ""
    progress: float = NEVER  # when ast3d last got on, or had nothing to do
    able: bool = False
    reason: str = UNKNOWN
    releasing: dict[str, str] = field(default_factory=dict)  # telescope -> to whom
    wishes: dict[str, Order] = field(default_factory=dict)  # of operators, that etcd has yet to be told
    lent: frozenset[str] = frozenset()

    def ownership(self, telescope: str) -> Ownership:
        """As last known; where it never was, as the configuration has it."""
        home = self.settings.telescopes[telescope].node
        return self.telescopes.get(telescope) or Ownership(home, 0, home, 0)
