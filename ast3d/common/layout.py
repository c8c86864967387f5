"""Where everything of one node lies.

With `--root DIR` everything is below DIR; a site's configuration names the folders one by one.
"""

from dataclasses import dataclass, fields
from pathlib import Path

from ast3d.common.config import Config, load_lenient

SITE_CONFIG = Path("/etc/ast3/ast3d.yaml")


@dataclass(frozen=True)
class Layout:
    """The folders of one node, absolute, and the names that are fixed below them."""

    incoming: Path
    templates: Path
    products: Path
    archive: Path
    quarantine: Path
    state: Path
    log: Path
    run: Path

    @classmethod
    def under(cls, root: Path) -> "Layout":
        """Everything below one folder."""
        return cls(**{f.name: root.absolute() / f.name for f in fields(cls)})

    @classmethod
    def of(cls, config: Config) -> "Layout":
        """The folders that the configuration names."""
        return cls(**{name: Path(folder) for name, folder in config.paths.as_dict().items()})

    def pool(self, telescope: str) -> Path:
        """The telescope's task pool."""
        return self.incoming / telescope

    def products_of(self, telescope: str, night: str, frame_id: str) -> Path:
        """Where a frame's products are published; the manifest.json in it is the success."""
        return self.products / telescope / night / frame_id

    def attempt(self, frame_id: str, attempt: int) -> Path:
        """Where a worker writes before it publishes; on the products' file system, for the rename."""
        return self.products / ".tmp" / f"{frame_id}.{attempt}"

    def attempt_log(self, frame_id: str, attempt: int) -> Path:
        """What the worker of this attempt said on stdout and stderr."""
        return self.state / "attempts" / f"{frame_id}.{attempt}.out"

    @property
    def control_socket(self) -> Path:
        """Where ast3d takes orders."""
        return self.run / "control.sock"

    @property
    def lock(self) -> Path:
        """Whoever holds the record lock on it is the one ast3d."""
        return self.run / "ast3d.lock"

    @property
    def log_file(self) -> Path:
        """The routine log."""
        return self.log / "ast3d.log"

    def make(self) -> None:
        """Create the folders that are missing; OSError names the one that cannot be made."""
        if not self.run.exists():
            self.run.mkdir(parents=True)
            self.run.chmod(0o755)  # whatever the umask: everyone may ask at the control socket
        for f in fields(self):
            folder: Path = getattr(self, f.name)
            folder.mkdir(parents=True, exist_ok=True)
        (self.products / ".tmp").mkdir(exist_ok=True)
        (self.state / "attempts").mkdir(exist_ok=True)


def locate(root: str | None, config: str | None) -> tuple[Layout, Path | None]:
    """The folders, and the configuration file if there is one, for a command line's `--root` and `--config`.

    The configuration below a root may be absent; a site's that is absent or unusable gives the default
    folders.
    """
    if root is not None:
        below = Path(root).absolute() / "etc" / "ast3d.yaml"
        if config is not None:
            return Layout.under(Path(root)), Path(config).absolute()
        return Layout.under(Path(root)), below if below.exists() else None
    path = Path(config).absolute() if config is not None else SITE_CONFIG
    return Layout.of(load_lenient(path)[0]), path
