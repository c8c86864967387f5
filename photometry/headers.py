"""The header that a frame goes on with: clean cards only, and the times of its exposure as they are known."""

from astropy.io import fits

from photometry import cards
from photometry.detector import Detector
from photometry.instrument import Instrument
from photometry.observatory import Site, time_cards
from photometry.times import Exposure

_FAR = 1e9  # pixels


def header_of(header: fits.Header, when: Exposure, site: Site | None, camera: Instrument | None) -> fits.Header:
    """What products take over of a header, with DATE-OBS in UTC and at the start, the other cards of time and of the site.

    The camera's cards of pointing and filter are kept as they are.
    """
    named: tuple[str, ...] = ()
    if camera is not None:
        named += camera.filters.cards if camera.filters else ()
        named += camera.pointing.ra + camera.pointing.dec if camera.pointing else ()
    clean = fits.Header()
    for name, value in (cards.plain(header, named) | cards.provenance(header) | cards.wcs_cards(header)).items():
        clean[name] = value
    known = time_cards(when, site)
    if "DATE-BEG" in known:
        clean["DATE-OBS"] = (known["DATE-BEG"][0], "start of the exposure")
        clean["MJD-OBS"] = (when.start_mjd, "[d] start of the exposure")
    if when.seconds is not None:
        clean["EXPTIME"] = (when.seconds, "[s]")
    for name, card in known.items():
        clean[name] = card
    return clean


def trimmed(header: fits.Header, chip: Detector) -> fits.Header:
    """The header as it is true of the trimmed chip: its WCS moved with the pixels, or without one where they did not stay
    together.
    """
    bare = header.copy(strip=False)
    moves = {
        tuple(there.start - here.start for there, here in zip(port.data, port.chip, strict=True)) for port in chip.amplifiers
    }
    if len(moves) > 1:
        for name in cards.wcs_names(bare):
            del bare[name]
        return bare
    for name, move in zip(("CRPIX2", "CRPIX1"), moves.pop(), strict=True):
        found = cards.number(bare, (name,), -_FAR, _FAR)
        if found is not None:
            bare[name] = found[1] - move
    return bare
