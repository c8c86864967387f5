"""What there is to work with at a telescope: its template, instrument, calibration, and the site's star catalog.

`found` takes what an order names, else the only one there is.  What the configuration names and is not there is the
machine's fault: EnvironmentFailedError, to be tried again.  Where it names none and there are several, none is taken, and a
note says so.
"""

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ast3d.bundle import about
from ast3d.common.files import escape
from ast3d.order import Order

if TYPE_CHECKING:
    from photometry.telescope import Telescope

TEMPLATE_SUFFIXES = (".fits", ".fits.gz", ".fits.fz")
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Assets:
    """What an attempt works with; None: there is none.  `notes` are for the manifest."""

    template: Path | None
    telescope: "Telescope"
    notes: list[str]

    def as_dict(self) -> dict[str, Any]:
        """As manifest.json and order.json have it: of each file its path, and what tells it from a later one."""
        known = self.telescope
        named = about(known.instrument) if isinstance(known.instrument, Path) else {"name": known.instrument}
        return {
            "template": about(self.template),
            "instrument": named if known.instrument else None,
            "masters": _about_masters(known.masters / MANIFEST) if known.masters else None,
            "catalog": about(known.catalog),
            "site": asdict(known.site) if known.site else None,
        }


def found(order: Order) -> Assets:
    """What the order names, else the only one there is.  EnvironmentFailedError: what it names is not there."""
    from photometry.observatory import Site
    from photometry.telescope import Telescope

    template, notes = choose_template(Path(order.templates), order.template)
    instrument: str | Path | None = order.instrument
    if order.instrument and "/" in order.instrument:
        instrument = _require(Path(order.instrument), Path.is_file, "instrument file")
    masters = None
    if instrument:  # without one, frames are calibrated already
        masters, more = choose_masters(Path(order.calibrations), order.calibration)
        notes = notes + more
    catalog = _require(Path(order.catalog), Path.is_file, "star catalog") if order.catalog else None
    site = Site(*order.site) if order.site else None
    return Assets(template, Telescope(instrument, masters, catalog, site), notes)


def choose_template(folder: Path, named: str | None) -> tuple[Path | None, list[str]]:
    """-> (path or None, notes for the manifest)."""
    if named:
        return _require(folder / named, Path.is_file, "template"), []
    names = sorted(path for path in folder.glob("[!.]*") if path.name.endswith(TEMPLATE_SUFFIXES)) if folder.is_dir() else []
    return _only(names, "templates", "not subtracted")


def choose_masters(folder: Path, named: str | None) -> tuple[Path | None, list[str]]:
    """A folder of masters is one that holds their manifest; -> (path or None, notes for the manifest)."""
    if named:
        return _require(folder / named, Path.is_dir, "calibration"), []
    return _only(sorted(path.parent for path in folder.glob(f"[!.]*/{MANIFEST}")), "calibrations", "without masters")


def _only(paths: list[Path], what: str, so: str) -> tuple[Path | None, list[str]]:
    if len(paths) > 1:
        return None, [f"{len(paths)} {what} and the configuration names none of them: {so}"]
    return (paths[0] if paths else None), []


def _require(path: Path, is_there: Callable[[Path], bool], what: str) -> Path:
    from photometry.errors import EnvironmentFailedError

    if not is_there(path):
        said = f"the {what} {escape(str(path))} that the configuration names is not there: put it there, or name another"
        raise EnvironmentFailedError(said)
    return path


def _about_masters(manifest: Path) -> dict[str, Any] | None:
    """Of the manifest that lists them; `version` is None where it cannot be read."""
    from photometry.calibration.masters import version_of

    facts, version = about(manifest), None
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        version = version_of(json.loads(manifest.read_bytes())["files"])
    return facts and {**facts, "version": version}
