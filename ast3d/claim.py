"""What a node may work for: the nouns that records, state and decisions share where several nodes work together.

Epoch and token grow: of two claims the one with the greater (epoch, token) is the later one.
"""

from dataclasses import dataclass, field

Rank = tuple[int, int]  # epoch, token


@dataclass(frozen=True, slots=True)
class Claim:
    """A node works for a telescope: by assignment `epoch`, under the fencing token `token`.

    `own`: it is the node's telescope by that assignment.  Nothing starts from `deadline` (CLOCK_BOOTTIME) on; None: none.
    """

    epoch: int
    token: int
    own: bool
    deadline: float | None = None

    @property
    def rank(self) -> Rank:
        return self.epoch, self.token

    def lapsed(self, now: float) -> bool:
        """Whether its deadline has passed."""
        return self.deadline is not None and now >= self.deadline


@dataclass(frozen=True, slots=True)
class Assignment:
    """The telescopes that were the own ones of `node` when it was last told."""

    node: str
    own: dict[str, Rank]


@dataclass(frozen=True)
class Claims:
    """What a node works for, and how well; it never changes in place.

    `held`: all that it has, parked and fenced ones too; `heard`: the agent said so, and not the last assignment or the
    configuration.  `parked`: of which it was said that the deadline has passed.  `refused`: of each telescope, the greatest
    claim whose work a fence kept out.  `served`: attempts whose end the machine was not to blame for; `ill`: why the
    machine failed since the last of them.
    """

    held: dict[str, Claim] = field(default_factory=dict)
    heard: bool = False
    assignment: Assignment | None = None
    parked: frozenset[str] = frozenset()
    refused: dict[str, Rank] = field(default_factory=dict)
    served: int = 0
    ill: str = ""
