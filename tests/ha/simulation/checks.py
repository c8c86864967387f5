"""What must hold, at every look and at the end."""

from collections import defaultdict
from dataclasses import dataclass, field

from ha.keys import read_view, telescope_key
from tests.ha.simulation.world import World

ALONE_SECONDS = 30.0  # that a telescope may be without work although its owner is well
LEASE_SECONDS = 6.0  # that a lease lasts, at most
SETTLED_SECONDS = 30.0  # after the last fault


@dataclass
class Checks:
    """Of one history; `violations` says what did not hold."""

    world: World
    violations: list[str] = field(default_factory=list)
    holders: dict[tuple[str, int, int], set[str]] = field(default_factory=lambda: defaultdict(set))
    tokens: dict[str, int] = field(default_factory=dict)
    alone: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        """Once a second."""
        world = self.world
        working: dict[str, set[str]] = defaultdict(set)
        for name, node in world.nodes.items():
            for telescope, claim in node.active(world.now).items():
                working[telescope].add(name)
                if not claim.own and telescope not in node.ast3d.lent and world.now - node.renewed > LEASE_SECONDS:
                    self.say(f"{name} works for {telescope}, and has had no lease since {node.renewed:.1f}")
                if claim.token and telescope not in node.ast3d.lent:
                    self._one_owner(telescope, claim.epoch, claim.token, name)
        owners = self._owners()
        for telescope in world.telescopes:
            if working[telescope] or not self._well(owners.get(telescope, telescope[0].upper())):
                self.alone[telescope] = world.now
            elif world.now - self.alone.get(telescope, 0.0) > ALONE_SECONDS:
                self.say(f"nobody works for {telescope}, whose owner is well, since {self.alone.get(telescope, 0.0):.1f}")
                self.alone[telescope] = world.now

    def settled(self) -> bool:
        """Each telescope has one that works, the one that the store says; and no frame waits for long."""
        world = self.world
        view = read_view(0.0, {key: (entry.value, entry.revision) for key, entry in world.store.entries.items()})
        for telescope in world.telescopes:
            working = {name for name, node in world.nodes.items() if telescope in node.active(world.now)}
            known = view.telescopes.get(telescope)
            if known is None or working != {known.holder}:
                return False
        return all(node.state.able for node in world.nodes.values())

    def end(self) -> None:
        """After the last frame had time to be processed."""
        sky = self.world.sky
        if sky.taken != len(sky.accepted):
            self.say(f"{sky.taken - len(sky.accepted)} of {sky.taken} frames were not processed")

    def say(self, what: str) -> None:
        self.violations.append(f"{self.world.now:.2f}: {what}")

    def _one_owner(self, telescope: str, epoch: int, token: int, name: str) -> None:
        holders = self.holders[telescope, epoch, token]
        if name not in holders:
            holders.add(name)
            if len(holders) > 1:
                self.say(f"{' and '.join(sorted(holders))} hold {telescope} with the same token {epoch}.{token}")

    def _owners(self) -> dict[str, str]:
        entries = self.world.store.entries
        found = {t: entries[telescope_key(t)] for t in self.world.telescopes if telescope_key(t) in entries}
        view = read_view(0.0, {telescope_key(t): (entry.value, entry.revision) for t, entry in found.items()})
        return {telescope: known.owner for telescope, known in view.telescopes.items()}

    def _well(self, name: str) -> bool:
        node = self.world.nodes[name]
        return node.up and node.ast3d.up and not node.ast3d.ill and self.world.now >= node.paused_until
