"""What one attempt is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Order:
    """What one attempt is told.  Paths are absolute; `command` is empty for photometry."""

    task: str
    attempt: int
    telescope: str
    name: str
    size: int
    mtime_ns: int
    frame: str
    templates: str
    template: str | None
    products: str
    attempts: str
    kept_templates: str
    command: list[str]
    photometry: dict[str, Any]
    fingerprint: str  # of the code and configuration

    @property
    def out(self) -> Path:
        """Where the products are written before they are published."""
        return Path(self.products) / ".tmp" / f"{self.task}.{self.attempt}"
