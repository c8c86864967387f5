"""All rows of the table, in the order in which a cluster is best used again."""

from tests.cluster import rows_able, rows_etcd, rows_network, rows_power, rows_ten
from tests.cluster.stage import Take

ALL: tuple[Take, ...] = (
    rows_power.power_cuts,
    rows_network.partitions_of_three,
    rows_network.directed_cuts_of_three,
    rows_etcd.leader_paused,
    rows_power.two_dead_provisional,
    rows_power.two_dead_park,
    rows_network.partitions_of_four,
    rows_network.partitions_provisional,
    rows_network.directed_cuts_of_four,
    *rows_able.ROWS,
    rows_power.returns_temporary,
    rows_power.returns_permanent,
    *(row for row in rows_etcd.ROWS if row is not rows_etcd.leader_paused),
    *rows_ten.ROWS,
)
