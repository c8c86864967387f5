"""What is known of the telescope that took a frame."""

from dataclasses import dataclass
from pathlib import Path

from photometry.observatory import Site


@dataclass(frozen=True)
class Telescope:
    """instrument: a name in conf/instruments or a YAML file; None: its frames are calibrated already, their headers are
    believed.  masters: the folder of `calibrate build`; catalog: of stars with positions and magnitudes
    (`photometry.astrometry.load_catalog`); site: where it stands.  None: there is none, and what needs it is left out.
    """

    instrument: str | Path | None = None
    masters: Path | None = None
    catalog: Path | None = None
    site: Site | None = None


UNKNOWN = Telescope()
