"""What one daemon knows of the other, its peer."""

from protectd.message import DEFAULT, Settings
from protectd.proc import Look
from protectd.starts import pause

FIRST_PERIODS = 2.0  # before a peer that was never heard is looked for
START_PAUSE_SECONDS = 1.0  # there are never more starts than one in so long


class Guard:
    """What is known of the peer.  `obeys`: it takes its settings from what the peer says (protectd does)."""

    def __init__(
        self, now: float, peer: str, settings: Settings = DEFAULT, *, may_start: bool = True, obeys: bool = False
    ) -> None:
        self.peer, self.may_start, self.obeys = peer, may_start, obeys
        self.settings = settings
        self.turned_at = now
        # who it is
        self.pid: int | None = None
        self.ticks = 0
        self.dead: tuple[int, int] | None = None  # who it was
        self.newest_ticks = 0
        # what it said
        self.generation, self.seq, self.progress = 0, -1, -1
        self.says, self.until = "", 0.0
        self.stated: Settings | None = None
        # how it is
        self.heard_at = now
        self.base: tuple[float, Look] | None = None
        self.looks: list[tuple[float, Look]] = []
        self.next_look = now
        self.slow = False
        self.killed_at: float | None = None
        # starting it
        self.seek_at = now + FIRST_PERIODS * self.settings.period_seconds
        self.started_at = now - START_PAUSE_SECONDS
        self.begun = False  # started, and not yet heard
        self.mute = 0  # starts in a row that ended without a word
        self.reason = "nothing was heard of it"

    @property
    def period(self) -> float:
        """Seconds between two words of the peer, as either side understands it: after a change the longer one."""
        return max(self.settings.period_seconds, self.stated.period_seconds if self.stated else 0.0)

    @property
    def patience(self) -> float:
        """Seconds of silence before it is judged."""
        return self.period * self.settings.misses

    @property
    def start_not_before(self) -> float:
        """The next start: later and later while what is started ends without a word; who spoke has a back-off of its own."""
        return self.started_at + max(pause(self.mute), START_PAUSE_SECONDS)

    def quiet(self, now: float) -> float:
        """Seconds of silence; what a peer announced as its back-off is none."""
        return now - (max(self.heard_at, self.until) if self.says == "backing off" else self.heard_at)

    @property
    def state(self) -> str:
        """One word for it, as the operator sees it."""
        if not self.settings.enabled:
            return "disabled"
        if self.says == "stopping":
            return "stopping"
        if self.pid is None:
            return "absent"
        if self.slow:
            return "slow"
        if self.quiet(self.turned_at) >= self.patience or not self.says:
            return "silent"
        return {"ready": "watching"}.get(self.says, self.says)
