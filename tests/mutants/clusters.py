"""`python -m tests.mutants.clusters N`: simulated clusters up to the first that goes wrong, for what no story sees."""

import sys

from tests.ha.simulation.history import run

for seed in range(int(sys.argv[1])):
    if violations := run(seed).violations:
        print(f"FAILED cluster {seed}: {violations[0]}")
        sys.exit(1)
