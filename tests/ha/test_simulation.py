"""Simulated histories of clusters, the short form; `python -m tests.ha.simulation --histories 100000` is the long one."""

from concurrent.futures import ProcessPoolExecutor

import pytest

from tests.ha.simulation.faults import KINDS
from tests.ha.simulation.history import run

HISTORIES = 1000


@pytest.mark.timeout(600)
def test_no_history_violates_anything():
    with ProcessPoolExecutor(2) as pool:
        outcomes = list(pool.map(run, range(1, HISTORIES + 1), chunksize=25))
    assert {outcome.seed: outcome.violations for outcome in outcomes if outcome.violations} == {}
    assert {kind for outcome in outcomes for kind in outcome.faults} == set(KINDS)
    assert sum(outcome.doubly for outcome in outcomes) > 0, "two did work for one, now and then"
    assert sum(outcome.refused for outcome in outcomes) > 0, "and the fence was needed"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_seed_is_a_history(seed):
    first, again = run(seed, story=True), run(seed, story=True)
    assert first == again
    assert first.story != run(seed + 1, story=True).story
