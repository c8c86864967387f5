"""What every product says of its frame, and a difference of how it was made."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from photometry.cards import provenance, wcs_cards
from photometry.times import exposure_of
from photometry.transform_cards import to_cards

if TYPE_CHECKING:  # .1 s that a frame without a WCS need not wait for
    from astropy.wcs import WCS

    from photometry.subtraction.difference import Difference


class Noisy(Protocol):
    """Counts, and what their noise needs."""

    @property
    def unit(self) -> str: ...
    @property
    def gain(self) -> float: ...
    @property
    def read_noise(self) -> float: ...


class Described(Protocol):
    """What products say of their frame, as `photometry.frame.Frame` has it."""

    @property
    def image(self) -> Noisy: ...
    @property
    def header(self) -> Any: ...
    @property
    def wcs(self) -> "WCS | None": ...
    @property
    def path(self) -> str: ...


def facts_of(frame: Described) -> dict[str, Any]:
    """What every product says of its frame; None where it is not known.  As FITS cards with - for _, upper case."""
    when = exposure_of(frame.header)
    name = Path(frame.path).name.encode("utf-8", "surrogateescape")
    shown = "".join(chr(b) if 32 < b < 127 and b != ord("%") else f"%{b:02X}" for b in name)
    return {
        "frame": shown[:200],
        "mjd_mid": when.mid_mjd,
        "exptime": when.seconds,
        "gain": frame.image.gain,
        "rdnoise": frame.image.read_noise,
    }


def catalog_cards(frame: Described) -> dict[str, Any]:
    """What a catalog says of its frame: its facts, and the header's provenance."""
    facts = facts_of(frame)
    return {name: value for name, value in provenance(frame.header).items() if name.lower() not in facts} | facts


def fact_cards(frame: Described) -> dict[str, Any]:
    """Those that are known, as FITS cards."""
    facts = facts_of(frame).items()
    return {key.replace("_", "-").upper(): value for key, value in facts if value is not None}


def difference_cards(frame: Described, difference: "Difference", template: str) -> dict[str, tuple[Any, str]]:
    """What DIFF's header says besides what every difference says."""
    header = frame.header
    said = provenance(header) | fact_cards(frame) | ({} if frame.wcs is None else wcs_cards(header))
    cards = {key: (value, "") for key, value in said.items()}
    cards |= {"TEMPLATE": (template, "subtracted from the frame"), **to_cards(difference.transform)}
    cards["FLXSCALE"] = (float(difference.kernel_sum), "flux in the frame over flux in the template")
    return cards
