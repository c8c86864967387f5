"""WCS cards that say something else than they mean, repaired by the names of what an instrument does to them.

strings     numbers stand as text ('1.245986E+02'), which wcslib passes over in silence
tan_is_tpv  CTYPE says TAN, and PV cards hold the polynomial of TPV (SCAMP before 2.0)
"""

from collections.abc import Callable, Collection

from astropy.io.fits import Header
from astropy.wcs import WCS

from photometry import cards
from photometry.errors import BadInputError
from photometry.frame import wcs_of


def repaired_wcs(header: Header, quirks: Collection[str]) -> WCS | None:
    """The header's WCS with those quirks set right; None where it still is not usable.  BadInputError: no such quirk."""
    unknown = sorted(set(quirks) - set(_REPAIRS))
    if unknown:
        raise BadInputError(f"wcs_quirks: {', '.join(unknown)} unknown; known are {', '.join(_REPAIRS)}")
    bare = header.copy(strip=False)
    for name in cards.wcs_names(bare):
        for quirk in quirks:
            _REPAIRS[quirk](bare, name)
    return wcs_of(bare, [])


def _from_text(header: Header, name: str) -> None:
    said = cards.text(header, name)
    if said and not name.startswith(("CTYPE", "CUNIT", "RADE")):
        try:
            header[name] = int(said) if said.lstrip("+-").isdecimal() else float(said)
        except ValueError:
            return  # text that is meant as text, or nonsense that wcs_of refuses


def _to_tpv(header: Header, name: str) -> None:
    if name in {"CTYPE1", "CTYPE2"} and "PV1_1" in header:
        header[name] = cards.text(header, name).replace("-TAN", "-TPV")


_REPAIRS: dict[str, Callable[[Header, str], None]] = {"strings": _from_text, "tan_is_tpv": _to_tpv}
