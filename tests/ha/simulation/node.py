"""One simulated node: the real agent, and an ast3d that is not."""

import random
from dataclasses import dataclass, field
from typing import Any

from ha import effects, records, translate
from ha import inputs as i
from ha.claims import working
from ha.cluster import Claim, Daemon, Ownership, Settings, Standing
from ha.decide import act, decide
from ha.fold import apply
from ha.state import State
from tests.ha.simulation.sky import Sky

SLOTS = 2


@dataclass
class Work:
    """A frame at work under a claim."""

    telescope: str
    frame: int
    claim: Claim
    until: float


@dataclass
class Ast3d:
    """What of ast3d an agent sees.  `ill`: all that is begun fails; `up`: it answers."""

    sky: Sky
    claims: dict[str, Claim] = field(default_factory=dict)
    work: list[Work] = field(default_factory=list)
    up: bool = True
    ill: bool = False
    failed: str = ""
    served: int = 0
    fenced: dict[str, tuple[int, int]] = field(default_factory=dict)
    lent: frozenset[str] = frozenset()  # those of its claims that are nobody's word

    def assign(self, given: dict[str, Claim]) -> Daemon:
        """The verb of the control socket."""
        self.claims = dict(given)
        self.fenced = {
            name: was for name, was in self.fenced.items() if name in given and (given[name].epoch, given[name].token) <= was
        }
        running: dict[str, int] = {}
        for work in self.work:
            running[work.telescope] = running.get(work.telescope, 0) + 1
        waiting = {telescope: len(self.sky.pool.get(telescope, ())) for telescope in given}
        return Daemon(self.served, self.failed, "", running, waiting, dict(self.fenced))

    def may_work(self, telescope: str, now: float) -> Claim | None:
        """The claim that is in force."""
        claim = self.claims.get(telescope)
        in_force = claim and (claim.deadline is None or now < claim.deadline) and telescope not in self.fenced
        return claim if in_force else None

    def turn(self, now: float, seconds: float) -> None:
        """End what is due, begin what may; `seconds` is how long a frame takes."""
        for work in [work for work in self.work if work.until <= now]:
            self.work.remove(work)
            self._end(work)
        if not self.up:
            return
        for telescope, claim in sorted(self.claims.items(), key=lambda item: not item[1].own):
            for frame in self.sky.pool.get(telescope, ()):
                if len(self.work) >= SLOTS:
                    return
                if any((work.telescope, work.frame) == (telescope, frame) for work in self.work):
                    continue
                if self.may_work(telescope, now):
                    self.sky.raise_fence(telescope, claim.epoch, claim.token)
                    self.work.append(Work(telescope, frame, claim, now + seconds))

    def _end(self, work: Work) -> None:
        claim = work.claim
        if self.ill:
            self.failed = "the disk is read-only"
        elif self.sky.refuses(work.telescope, claim.epoch, claim.token, own=claim.own):
            self.sky.refused += 1
            self.fenced[work.telescope] = claim.epoch, claim.token
        else:
            self.sky.publish(work.telescope, work.frame)
            self.served += 1
            self.failed = ""


class Node:
    """An agent with its clock, its disk and its ast3d.  `tick` and `hear` run it; `sent` is what it wants done."""

    def __init__(self, settings: Settings, sky: Sky, rng: random.Random) -> None:
        self.name, self.settings, self.sky, self.rng = settings.node, settings, sky, rng
        self.offset = rng.uniform(0.0, 1e5)  # no node's clock is another's
        self.disk: dict[str, Ownership] = {}
        self.up = False
        self.paused_until = 0.0
        self.cycles = 0
        self.renewed = 0.0  # when etcd last gave it a lease
        self.log: list[str] = []
        self.restart(0.0)

    def restart(self, now: float) -> None:
        """The machine comes up."""
        self.up, self.state, self.ast3d = True, State(), Ast3d(self.sky)
        homes = {name: Ownership(home.node, 0, home.node, 0) for name, home in self.settings.telescopes.items()}
        self.ast3d.claims = {
            name: Claim(known.epoch, known.token, own=True, deadline=None)
            for name, known in (self.disk or homes).items()
            if known.owner == known.holder == self.name
        }
        self.restart_agent(now)

    def restart_agent(self, now: float) -> None:
        """Only the agent does."""
        self.state = State()
        self.cycles += 1
        self.hear(i.AgentBegan(now + self.offset, self.disk))
        self.hear(i.ConfigurationRead(now + self.offset, self.settings))

    def cut(self) -> None:
        """The power fails."""
        self.up = False
        self.ast3d.work.clear()
        self.ast3d.claims.clear()

    def hear(self, given: i.Input) -> None:
        """An input."""
        facts, doings = decide(self.state, given)
        for record in facts:
            apply(self.state, record)
        for effect in doings:
            if isinstance(effect, effects.Save):
                self.disk = dict(effect.telescopes)
            elif isinstance(effect, effects.Log):
                self.log.append(f"{given.now - self.offset:8.2f} {self.name} {effect.event} {effect.fields}")

    def tick(self, now: float) -> list[dict[str, Any]]:
        """A period: -> the courier's orders; ast3d is told at once."""
        mine = now + self.offset
        self.hear(i.Tick(mine))
        orders = []
        for effect in act(self.state, mine):
            if isinstance(effect, effects.Tell):
                self._tell(effect, mine)
            elif isinstance(effect, effects.Cycle):
                apply(self.state, records.Asked(mine, effect.lease_seconds))
                self.cycles += 1
                orders.append(translate.cycle_order(effect, self.name, self.cycles))
        return [order["cycle"] for order in orders]

    def _tell(self, effect: effects.Tell, mine: float) -> None:
        claimed = frozenset(effect.claims)
        if self.ast3d.up:
            self.ast3d.lent = self.state.lent
            self.hear(i.DaemonTold(mine, claimed, self.ast3d.assign(dict(effect.claims)), ""))
        else:
            self.hear(i.DaemonTold(mine, claimed, None, "not running"))

    def standing(self, now: float, asked: float) -> Standing:
        """What it answers on the second path, for who asked at `asked` on its own clock."""
        return Standing(asked, self.state.able, self.state.reason, working(self.state, now + self.offset))

    def active(self, now: float) -> dict[str, Claim]:
        """The claims that its ast3d works under, where it works."""
        if not (self.up and self.ast3d.up and not self.ast3d.ill):
            return {}
        found = {name: self.ast3d.may_work(name, now + self.offset) for name in self.ast3d.claims}
        return {name: claim for name, claim in found.items() if claim}
