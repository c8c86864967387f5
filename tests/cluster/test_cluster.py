"""The short form of `python -m tests.cluster`: every row on a real cluster, with small n."""

import pytest

from bench.table import show
from tests.cluster.cluster import has_ha
from tests.cluster.network import NoNetworkError
from tests.cluster.rows import ALL
from tests.cluster.stage import SHORT, Stage

pytestmark = pytest.mark.skipif(not has_ha(), reason="there is no ast3-ha here")


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """Rows with the same plan share a cluster."""
    made = Stage(tmp_path_factory.mktemp("cluster"), SHORT)
    yield made
    made.close()


@pytest.mark.timeout(240)
@pytest.mark.parametrize("take", ALL, ids=lambda take: take.__name__)
def test_row(stage, take):
    try:
        rows = take(stage)
    except NoNetworkError as error:
        pytest.skip(str(error))
    print(show(rows))
    assert [row.figure for row in rows if not row.met] == []
