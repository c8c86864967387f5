"""Small cameras of the same kind as AST3's: frames that a test can afford."""

from pathlib import Path

import yaml

from photometry.instrument import load_instrument
from skysim.detector.chip import Chip, chip_of


def write_camera(path: Path, *, side=(330, 330), overscan=20, across=2, linearity=(0.0, 0.0), crosstalk=None,
                 row_seconds=5e-6, gain=1.6, read_noise=8.0, saturation=60_000, arcsec=0.994, **other) -> Path:  # fmt: skip
    """An instrument file of 2 rows of `across` amplifiers, each `side` (rows, columns), as AST3's are arranged.

    crosstalk: victim gets this share of each aggressor, or a matrix; gain, read_noise: one for all or one each;
    other: keys of the file as they should stand.
    """
    rows, columns = side
    n = 2 * across

    def one(values, i):
        return values[i] if isinstance(values, (list, tuple)) else values

    ports = []
    for i in range(n):
        upper, at = divmod(i, across)
        y, raw_x, x = upper * rows, at * (columns + overscan), at * columns
        ports.append({
            "name": f"{'LU'[upper]}{at + 1}",
            "data": f"[{raw_x + 1}:{raw_x + columns},{y + 1}:{y + rows}]",
            "overscan": f"[{raw_x + columns + 1}:{raw_x + columns + overscan},{y + 1}:{y + rows}]",
            "chip": f"[{x + 1}:{x + columns},{y + 1}:{y + rows}]",
            "corner": f"{'upper' if upper else 'lower'}-{'left' if at % 2 == 0 else 'right'}",
            "gain": one(gain, i), "read_noise": one(read_noise, i), "saturation": saturation, "linearity": list(linearity),
        })  # fmt: skip
    if isinstance(crosstalk, float):
        crosstalk = [[0.0 if v == a else crosstalk for a in range(n)] for v in range(n)]
    camera = {
        "name": "small", "description": "as AST3, smaller", "identity": {"INSTRUME": "SMALL"},
        "shape": [2 * rows, across * (columns + overscan)], "scale": {"arcsec_per_pixel": arcsec, "tolerance": 0.03},
        "amplifiers": ports, "crosstalk": crosstalk,
        "frame_transfer": None if row_seconds is None else {"row_seconds": row_seconds},
        "time": {"cards": ["DATE-OBS"], "zone": "UTC", "at": "start", "exposure": ["EXPTIME"]},
        "pointing": {"ra": ["RA"], "dec": ["DEC"], "unit": "hours"},
        "filters": {"cards": ["FILTER"], "bands": {"g": "g", "r": "r", "i": "i"}},
        "wcs_quirks": [],
    } | other  # fmt: skip
    path.write_text(yaml.safe_dump(camera, sort_keys=False) + "...\n")
    return path


def small_chip(folder: Path, **how) -> Chip:
    """Such a camera, ready to simulate."""
    return chip_of(load_instrument(write_camera(folder / "small.yaml", **how)))
