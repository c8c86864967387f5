"""`python -m protectd`: the daemon."""

import sys

from protectd.cli import main

sys.exit(main())
