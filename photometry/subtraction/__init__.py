"""Subtraction of a template from a science frame, and what changed between them."""

from photometry.subtraction.detect import Doubt, believed, detect_sources, forced_flux
from photometry.subtraction.difference import Difference
from photometry.subtraction.engine import subtract
from photometry.subtraction.settings import SubtractionSettings

__all__ = [
    "Difference",
    "Doubt",
    "SubtractionSettings",
    "believed",
    "detect_sources",
    "forced_flux",
    "subtract",
]
