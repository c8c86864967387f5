"""The short form of `python -m tests.cluster`: every row on a real cluster, with small n and short leases.

Nearly all of a row's time is waiting, so some clusters stand side by side.  What must never be is judged here, however
long it takes; the times are the long form's.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.table import show
from tests.cluster.cluster import demand, has_ha
from tests.cluster.network import NoNetworkError
from tests.cluster.paper import Plan
from tests.cluster.rows import ALL
from tests.cluster.stage import SHORT, Missed, Stage, Timed

SIDE_BY_SIDE = 3
ROW_SECONDS = 240.0

pytestmark = pytest.mark.skipif(not has_ha(), reason="there is no ast3-ha here")


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """take -> its rows, some day; rows with the same plan share a cluster where they follow each other."""
    try:
        demand(Plan(tls=True, clocks=True, disks=("a",)))
    except NoNetworkError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("cluster")
    shares = [ALL[number::SIDE_BY_SIDE] for number in range(SIDE_BY_SIDE)]
    rows = {}

    def work(share):
        stage = Stage(folder, SHORT)
        try:
            for take in share:
                rows[take] = _take(take, stage)
        finally:
            stage.close()

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        workers = [pool.submit(work, share) for share in shares]
        yield rows
        for worker in workers:
            worker.result()


def _take(take, stage):
    try:
        return take(stage)
    except Exception as error:  # noqa: BLE001  it is raised in the test of this row
        return error


@pytest.mark.timeout(600)  # it may have to wait for those that are taken before it
@pytest.mark.parametrize("take", ALL, ids=lambda take: take.__name__)
def test_row(taken, take):
    end = time.monotonic() + len(ALL) / SIDE_BY_SIDE * ROW_SECONDS
    while take not in taken and time.monotonic() < end:
        time.sleep(0.1)
    rows = taken[take]
    if isinstance(rows, Exception):
        raise rows
    print(show(rows))
    assert [row.figure for row in rows if not row.met and not isinstance(row, Timed | Missed)] == []
