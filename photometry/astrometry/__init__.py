"""Where a frame lies on the sky, without a network: `solve` goes down three rungs to a `Solution`, or says why none is.

The template's solution is carried over and refined on the template's stars; else the site's catalog is searched round the
header's place; else astrometry.net's solver, where it is installed, looks anywhere in indexes built from that catalog.
"""

from photometry.astrometry.blind import build_indexes
from photometry.astrometry.catalog import Catalog, catalog_of, load_catalog
from photometry.astrometry.quirks import repaired_wcs
from photometry.astrometry.rungs import Known, blind, carry, search, solve
from photometry.astrometry.solution import AstrometrySettings, Half, Solution

__all__ = [
    "AstrometrySettings", "Catalog", "Half", "Known", "Solution", "blind", "build_indexes", "carry", "catalog_of",
    "load_catalog", "repaired_wcs", "search", "solve",
]  # fmt: skip
