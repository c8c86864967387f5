"""`python -m tests.cluster`: failover on real clusters; from the root of the repository, as root.

Prints the table `figure | goal | measured | met`, which ends with `met N of M`.  Real ast3d, ast3-ha and etcd, each node
with processes and a network of its own; what failed is kept in FOLDER/failed.  `--row` takes only those rows whose name
has WORD in it; `--picture` writes the timeline of ten telescopes, and nothing else unless `--row` says so.
"""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from bench.table import Row, show
from tests.cluster.cluster import ClusterError, has_ha
from tests.cluster.network import NoNetworkError
from tests.cluster.rows import ALL
from tests.cluster.rows_simulated import simulation
from tests.cluster.stage import LONG, SHORT, Stage, Take


def main() -> int:
    """-> 0 all goals are met, 1 some are not, 2 there can be no cluster here."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--short", action="store_true", help="small n, as `make test` runs it")
    parser.add_argument("--row", metavar="WORD", default="", help="only the rows with WORD in their name")
    parser.add_argument("--picture", metavar="FILE", type=Path, help="write the timeline of ten telescopes there")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("build/cluster"), help="default: build/cluster")
    options = parser.parse_args()
    if not has_ha():
        print("there is no ast3-ha here; `make setup` installs it", file=sys.stderr)
        return 2
    folder = options.folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    word = options.row or ("ten_telescopes" if options.picture else "")
    wanted = [take for take in (*ALL, simulation) if word in take.__name__]
    stage = Stage(
        folder, SHORT if options.short else LONG, options.seed, lambda line: print(line, file=sys.stderr, flush=True)
    )
    stage.picture = options.picture
    rows: list[Row] = []
    try:
        for take in wanted:
            rows += tell(stage, take)
    except NoNetworkError as error:
        print(f"no cluster can be made here: {error}", file=sys.stderr)
        return 2
    finally:
        stage.close()
    print(f"\nseed {options.seed}, {stage.size.name}\n\n{show(rows)}")
    return 0 if rows and all(row.met for row in rows) else 1


def tell(stage: Stage, take: Take) -> list[Row]:
    """Take some figures, and say how long that took; what could not be taken is not met."""
    began = time.monotonic()
    stage.say(take.__name__)
    try:
        taken = take(stage)
    except (ClusterError, OSError) as error:
        stage.say(f"{take.__name__}: {str(error)[:4000]}")
        taken = [Row(take.__name__, "", str(error).splitlines()[0][:120], None)]
    stage.say(f"{take.__name__}: {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}")
    return taken


if __name__ == "__main__":
    sys.exit(main())
