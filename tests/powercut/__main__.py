"""`python -m tests.powercut --cuts 200`: the long form, from the root of the repository."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.powercut.cuts import campaign
from tests.powercut.disks import NoDisksError


def main() -> int:
    """-> 0 nothing was lost, 1 something was, 2 there are no disks to cut here."""
    parser = argparse.ArgumentParser(prog="python -m tests.powercut", description=__doc__)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ast3-powercut-") as folder:
        try:
            tally = campaign(
                options.cuts,
                Path(folder),
                options.seed,
                lambda line: print(f"{time.monotonic() - began:7.1f} s  {line}", flush=True),
            )
        except NoDisksError as error:
            print(f"no power can be cut here: {error}", file=sys.stderr)
            return 2
    print(tally)
    return 1 if tally.violations else 0


if __name__ == "__main__":
    sys.exit(main())
