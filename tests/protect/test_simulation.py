"""Hundreds of histories of two guards, crashes, stops, hangs, starvation and bad handshakes: see `simulation.World`."""

from collections import Counter

import pytest

from tests.protect.simulation import World

SECONDS = 120


@pytest.mark.parametrize("systemd", [False, True])
@pytest.mark.parametrize("loss", [0.0, 0.15])
def test_no_history_ends_badly(systemd, loss):
    kills = Counter()
    for seed in range(60):
        world = World(seed, systemd=systemd, loss=loss, faults=0.15)
        try:
            world.run(SECONDS)
        except AssertionError as error:
            pytest.fail(f"seed {seed} at {world.now - 1000:.2f} s: {error}")
        kills.update(world.kills)
    assert min(kills[reason] for reason in ("stopped", "spinning", "deadlocked")) > 5, kills
