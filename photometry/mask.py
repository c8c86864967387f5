"""The mask: one list of bits from the raw frame to the alert.

A template's bits, carried onto the science grid, are the same bits shifted by `TEMPLATE_SHIFT`.
"""

from enum import IntFlag

TEMPLATE_SHIFT = 8


class Bit(IntFlag):
    """Why a pixel is not like the others.  The low byte speaks of the frame itself, the high byte of its template."""

    SATURATED = 1  # at or above the saturation level, and where its charge bled
    BAD = 2  # dead or hot by the given mask or variance, NaN, or infinite
    COSMIC_RAY = 4
    TRAIL = 8  # satellites, aircraft
    HALO = 16  # the unmodelled wing of a bright star
    EDGE = 32  # not enough neighbours, or outside the other frame
    FILLED = 64  # bad columns interpolated over before a convolution, and the kernel's reach round them
    TEMPLATE_SATURATED = SATURATED << TEMPLATE_SHIFT
    TEMPLATE_BAD = BAD << TEMPLATE_SHIFT
    TEMPLATE_COSMIC_RAY = COSMIC_RAY << TEMPLATE_SHIFT
    TEMPLATE_TRAIL = TRAIL << TEMPLATE_SHIFT
    TEMPLATE_HALO = HALO << TEMPLATE_SHIFT
    TEMPLATE_EDGE = EDGE << TEMPLATE_SHIFT
    TEMPLATE_FILLED = FILLED << TEMPLATE_SHIFT


# Bits that make a pixel's value worthless.  EDGE and HALO say something about it, but it is there.
WORTHLESS = Bit.SATURATED | Bit.BAD | Bit.COSMIC_RAY | Bit.TRAIL | Bit.FILLED

# What `BADBITS` says in a header: pixels with any of these measure nothing.
BAD_BITS = Bit(0)
for _bit in Bit:
    BAD_BITS |= _bit
