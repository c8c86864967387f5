"""A real cron that runs one line every minute, and nothing of this machine's own."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENSURE = Path(__file__).resolve().parents[2] / "ast3ctl" / "ensure.py"
PYTHON = "/usr/bin/python3"
HIDE = """\
mount --bind "$1" /etc/cron.d && mount --bind /dev/null /etc/crontab && mount -t tmpfs tmpfs /var/spool/cron &&
mount -t tmpfs tmpfs /run && mkdir -p /var/spool/cron/crontabs && exec cron -f
"""


class NoCronError(Exception):
    """Here none can be run; the text says why."""


@contextmanager
def every_minute(folder: Path, root: Path, bin_folder: Path) -> Iterator[Path]:
    """`ensure` for the node below `root`, by cron; -> the file in which it says what it did."""
    if os.geteuid() != 0 or not shutil.which("cron") or not Path(PYTHON).exists():
        raise NoCronError(f"needs root, cron and {PYTHON}")
    table, said = folder / "cron.d", folder / "said"
    table.mkdir(parents=True)
    command = f"{PYTHON} -I {ENSURE} --root {root} --bin {bin_folder} >> {said} 2>&1"
    (table / "ast3").write_text(f"PATH=/usr/bin:/bin\n* * * * * root {command}\n")
    (table / "ast3").chmod(0o644)
    argv = ["unshare", "--mount", "sh", "-c", HIDE, "sh", table]
    nothing = subprocess.DEVNULL
    cron = subprocess.Popen(argv, stdin=nothing, stdout=nothing, stderr=nothing)
    try:
        yield said
    finally:
        cron.kill()
        cron.wait()
