import subprocess
import sys


def test_the_command_starts_light_and_knows_nothing_of_the_daemon_but_what_is_common():
    """An operator on a slow machine waits for every import; the import direction is the design's."""
    script = "import ast3ctl.cli, sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    assert not {"numpy", "structlog", "photometry", "psutil"} & set(modules)
    assert all(m.startswith("ast3d.common") for m in modules if m.startswith("ast3d."))
