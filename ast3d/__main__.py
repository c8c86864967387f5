"""`python -m ast3d`, as protectd and `ast3ctl ensure` start it."""

import sys

from ast3d.begin import main

sys.exit(main())
