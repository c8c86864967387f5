"""`python -m tests.mutants.histories N`: simulated histories up to the first that goes wrong, for what no test sees."""

import sys

from tests.simulate.history import run

for seed in range(1, int(sys.argv[1]) + 1):
    if violation := run(seed).violation:
        print(f"FAILED history {seed}: {violation.strip().splitlines()[-1]}")
        sys.exit(1)
