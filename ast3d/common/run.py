"""The run folder, whose place is fixed so that nothing has to be read to know it.  Standard library only."""

from pathlib import Path

SITE_RUN = Path("/run/ast3")
STOPPED = "stopped"  # the marker of a stop on purpose: nobody starts anything while it is there
STOPPED_STATUS = 80  # the exit status of who ends for it; systemd starts nothing again after that


def make_run(run: Path) -> None:
    """Make the folder where it is missing; whatever the umask, everyone may ask at ast3d's socket.  Raises OSError."""
    if not run.is_dir():
        run.mkdir(parents=True, exist_ok=True)
        run.chmod(0o755)


def run_folder(root: str | None) -> Path:
    """Of the node below `root`, or of the site."""
    return Path(root).absolute() / "run" if root is not None else SITE_RUN
