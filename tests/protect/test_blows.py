"""The short form of `bench.protection`: what must never be, however long it takes.  The times are the bench's."""

import pytest

from tests.protect import blows, starve
from tests.protect.busy import DAEMONS, busy


def test_killed_again_and_again(tmp_path):
    with busy(tmp_path) as node:
        done = blows.kills(node, 30)
    assert not done.wrong
    assert done.frames > len(done.times)


@pytest.mark.parametrize("kind", blows.HANGS)
def test_hung_again_and_again(tmp_path, kind):
    with busy(tmp_path, blows.PROTECT, blows.HOOKS) as node:
        assert not blows.hangs(node, blows.HANGS[kind], 10).wrong


def test_starved_of_the_disk(tmp_path):
    try:
        with starve.disk(tmp_path / "disk") as place, busy(tmp_path, blows.PROTECT, root=place) as node:
            assert not blows.stalls(node, 20, lambda: starve.frozen(place)).wrong
    except starve.NoStarvingError as error:
        pytest.skip(str(error))


def test_starved_of_the_cpu(tmp_path):
    try:
        with busy(tmp_path, blows.PROTECT) as node:
            pids = [node.pid(daemon) for daemon in DAEMONS]
            assert not blows.stalls(node, 20, lambda: starve.throttled(pids, 5.0)).wrong
    except starve.NoStarvingError as error:
        pytest.skip(str(error))


def test_crashes_at_start(tmp_path):
    with busy(tmp_path) as node:
        assert not blows.crashes(node, 4).wrong
