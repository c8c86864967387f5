"""What this is; setup.cfg takes the version from here.  Asking the installed package costs 28 ms at each start."""

VERSION = "0.1.0"
