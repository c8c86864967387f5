"""What one attempt is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ast3d.common.unfinished import work_folder


@dataclass(frozen=True)
class Order:
    """What one attempt is told.  Paths are absolute; `command` is empty for photometry.

    `instrument` is a name of conf/instruments, or a path; `calibrations` the folder with the telescope's calibrations,
    `calibration` the name of one; `catalog` the site's; `site` longitude and latitude (degrees) and height (metres).

    `node` and `claim` ({epoch, token, own}) are those that it publishes as and under; None where there is only this node.
    """

    task: str
    attempt: int
    telescope: str
    name: str
    size: int
    mtime_ns: int
    frame: str
    templates: str
    template: str | None
    calibrations: str
    products: str
    attempts: str
    kept: str
    command: list[str]
    photometry: dict[str, Any]
    fingerprint: str  # of the code and configuration
    node: str | None = None
    claim: dict[str, Any] | None = None
    calibration: str | None = None
    instrument: str | None = None
    catalog: str | None = None
    site: list[float] | None = None

    @property
    def out(self) -> Path:
        """Where the products are written before they are published."""
        return work_folder(Path(self.products), self.node) / f"{self.task}.{self.attempt}"
