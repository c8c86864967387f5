"""The part of the configuration that decisions rest on, and the arithmetic of retries."""

from dataclasses import dataclass, field

PAUSE_SECONDS = 7200.0  # a pause that nobody ends
REFILE_SECONDS = 10.0  # until a frame that could not be moved is moved again; doubles
REFILE_LIMIT_SECONDS = 600.0
KILL_AGAIN_SECONDS = 60.0  # what SIGKILL did not end is sent it again
BREAKER_FRAMES = 3  # different frames that the machine fails in the same way
ALONE_AT_MOST = 2  # power cuts with one frame alone at work, until it is taken for their cause


@dataclass(frozen=True)
class Policy:
    """How long to wait, how often to try, how much at once."""

    slots: int = 1
    settle_seconds: float = 2.0
    incomplete_seconds: float = 60.0
    soft_seconds: float = 600.0
    hard_seconds: float = 660.0
    silence_seconds: float = 300.0  # 0: the workers cannot tell of progress
    attempts: int = 3
    backoff_seconds: float = 5.0
    backoff_limit_seconds: float = 300.0
    fingerprint: str = ""  # of the code and what the configuration tells the work: what failed may do better with another
    fingerprints: dict[str, str] = field(default_factory=dict)  # the same, with what is particular to a telescope
    telescopes: frozenset[str] = frozenset()  # all that are configured
    node: str = ""  # this node among others; empty: it is the only one, and works for all its telescopes
    home: frozenset[str] = frozenset()  # the telescopes that are this node's, as far as the configuration says

    def fingerprint_of(self, telescope: str) -> str:
        """What the telescope's frames are worked on with."""
        return self.fingerprints.get(telescope, self.fingerprint)

    def differs_in_work_from(self, other: "Policy") -> bool:
        """Whether frames may fare otherwise than under `other`; a telescope that came or went is nothing to the rest."""
        both = self.fingerprints.keys() & other.fingerprints.keys()
        return self.fingerprint != other.fingerprint or any(self.fingerprints[n] != other.fingerprints[n] for n in both)


def backoff(policy: Policy, failures: int) -> float:
    """Seconds to wait after the n-th failure (n >= 1): doubling, bounded."""
    doublings = min(max(failures - 1, 0), 32)
    return min(policy.backoff_seconds * 2.0**doublings, policy.backoff_limit_seconds)
