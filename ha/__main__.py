"""`python -m ha`."""

import sys

from ha.cli import main

if __name__ == "__main__":
    sys.exit(main())
