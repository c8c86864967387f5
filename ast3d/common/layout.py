"""Where everything of one node lies.

With `--root DIR` everything is below DIR; a site's configuration names the folders one by one, but for the run folder: what
starts ast3d must find that without a configuration.
"""

import contextlib
from dataclasses import dataclass, fields
from pathlib import Path

from ast3d.common.config import Config, load_lenient
from ast3d.common.run import SITE_RUN, STOPPED
from ast3d.common.unfinished import work_folder

SITE_CONFIG = Path("/etc/ast3/ast3d.yaml")


@dataclass(frozen=True)
class Layout:
    """The folders of one node, absolute, and the names that are fixed below them."""

    incoming: Path
    templates: Path
    calibrations: Path
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
        return cls(**{name: Path(folder) for name, folder in config.paths.as_dict().items()}, run=SITE_RUN)

    def pool(self, telescope: str) -> Path:
        """The telescope's task pool."""
        return self.incoming / telescope

    @property
    def kept(self) -> Path:
        """What photometry keeps for the next frame: measured templates, the sorted star catalog."""
        return self.state / "kept"

    @property
    def control_socket(self) -> Path:
        """Where ast3d takes orders."""
        return self.run / "control.sock"

    @property
    def ha_socket(self) -> Path:
        """Where ast3-ha takes orders."""
        return self.run / "ha.sock"

    @property
    def lock(self) -> Path:
        """Whoever holds the record lock on it is the one ast3d; not below run/, which may be cleaned while it runs."""
        return self.state / "ast3d.lock"

    @property
    def stopped(self) -> Path:
        """The marker of a stop on purpose."""
        return self.run / STOPPED

    @property
    def relog(self) -> Path:
        """The recovery log."""
        return self.state / "relog"

    @property
    def log_file(self) -> Path:
        """The routine log."""
        return self.log / "ast3d.log"

    @property
    def folders(self) -> dict[str, Path]:
        """Those that a site names, and the run folder."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @property
    def own(self) -> tuple[Path, ...]:
        """Folders below them that are ast3d's alone and are made anew where they are missing."""
        return (work_folder(self.products, None), self.relog, self.state / "attempts", self.kept)

    def make(self) -> None:
        """Create the folders that are missing; OSError names the one that cannot be made.

        That of the log may be missing afterwards: work goes on without it.
        """
        if not self.run.exists():
            self.run.mkdir(parents=True)
            self.run.chmod(0o755)  # whatever the umask: everyone may ask at the control socket
        for name, folder in self.folders.items():
            if name != "log":
                folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            self.log.mkdir(parents=True, exist_ok=True)
        work_folder(self.products, None).mkdir(exist_ok=True)
        (self.state / "attempts").mkdir(exist_ok=True)


@dataclass(frozen=True)
class Place:
    """A node's folders and its configuration file; `config_optional`: where there is none, the defaults are meant."""

    layout: Layout
    config_file: Path
    config_optional: bool


def locate(root: str | None, config: str | None) -> Place:
    """The node that a command line's `--root` and `--config` name.

    The configuration below a root is optional; a site's that is absent or unusable gives the default folders.
    """
    if root is not None:
        below = Path(root).absolute() / "etc" / "ast3d.yaml"
        return Place(Layout.under(Path(root)), Path(config).absolute() if config else below, config is None)
    path = Path(config).absolute() if config is not None else SITE_CONFIG
    return Place(Layout.of(load_lenient(path)[0]), path, config_optional=False)
