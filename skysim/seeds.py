"""Random numbers that can be drawn again alone: one stream for each purpose and each part of a frame.

`stream(seed, Purpose.NOISE, 7)` is what `numpy.random.SeedSequence(seed).spawn` would give at that place of the tree, so
streams of different keys are independent, and one band of a frame needs none of the bands before it.
"""

from collections.abc import Iterator
from enum import IntEnum

import numpy as np

BAND_ROWS = 256  # of a frame that are worked on at a time


class Purpose(IntEnum):
    """What a stream is for.  Numbers are part of what a seed means: none is used again."""

    STARS = 1
    CATALOG = 2
    CLOUD = 3
    SKY = 4
    SATELLITES = 5
    SHAKE = 6
    DRIFT = 7
    PHOTONS = 8
    COSMIC_RAYS = 9
    READOUT = 10
    BIAS_DRIFT = 11
    FLAT = 20
    DUST = 21
    DARK = 22
    BIAS = 23
    PAIR = 30


def stream(seed: int, *key: int) -> np.random.Generator:
    """The stream of `seed` at `key`."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def bands(rows: int) -> Iterator[tuple[int, slice]]:
    """The number and the rows of each band of a frame of so many rows."""
    for i, start in enumerate(range(0, rows, BAND_ROWS)):
        yield i, slice(start, min(start + BAND_ROWS, rows))
