"""The header that a frame goes on with: clean cards only, and the times of its exposure as they are known."""

from astropy.io import fits

from photometry import cards
from photometry.instrument import Instrument
from photometry.observatory import Site, time_cards
from photometry.times import Exposure


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
