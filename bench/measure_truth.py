"""What `process` says of stars that stand alone on a simulated frame, beside what is true of them.

Brightness is compared as magnitudes, which the zero point's map has freed of the gradient that twilight leaves in the flat.
"""

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from bench.raw_fields import ARCSEC, SOURCES, TRUTH
from bench.table import Row
from photometry.astrometry.sphere import separation, unit_vectors
from photometry.products import CATALOG_FITS
from photometry.stars.magnitudes import MAG_PER_LN
from skysim.detector.pattern import DARK_RATE, DARK_SPREAD, VIGNETTING
from skysim.optics import Psf, stamp

Array = NDArray[np.float64]

ALONE_PIXELS = 20.0  # within which all neighbours together have less than
ALONE_SHARE, ALONE_SIGMA = 0.01, 0.5  # of the star's light, and of its noise
MATCH_PIXELS = 1.0
BRIGHT = 200.0  # signal-to-noise ratio
BINS = (5.0, 7.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)  # of it
FEWEST, FEWEST_BRIGHT, FEWEST_PULLS = 50, 20, 1_000  # stars in a bin, at the bright end, in all: fewer are not judged
FOUND_SHARE = 0.95  # of the stars of a bin: where fewer are found, those that noise made brighter are
STAMP_HALF = 12  # pixels


@dataclass(frozen=True)
class Stars:
    """Stars that stand alone: true S/N of those on the frame that are whole, which of them were measured, and of these
    the flux with its error, the place with its errors, apertures, and the truth.
    """

    all_snr: Array
    found: NDArray[np.bool_]
    true: Table
    measured: NDArray[np.void]

    @property
    def snr(self) -> Array:
        """Of those that were measured."""
        return self.all_snr[self.found]

    def fainter(self, kind: str) -> Array:
        """Magnitude by the PSF or 'apcor' less the true one."""
        return np.asarray(self.measured[f"mag_{kind}"] - np.asarray(self.true["mag"]), float)

    @property
    def brighter(self) -> Array:
        """Flux over the true one, less 1, by the magnitude."""
        return np.asarray(10 ** (-0.4 * self.fainter("psf")) - 1)


def compare(exposed: Path, products: Path) -> Stars:
    """Those of a simulated frame that `process` wrote the products of."""
    true, said = Table.read(exposed / SOURCES, format="ascii.ecsv"), json.loads((exposed / TRUTH).read_text())
    measured = np.asarray(fits.getdata(products / CATALOG_FITS, "CATALOG"))
    others = _light_near(true)
    some = (others < ALONE_SHARE * np.asarray(true["electrons"])) & ~np.asarray(true["saturated"])
    alone, others = true[some], others[some]
    bound = _noise(alone, said)
    snr = np.asarray(alone["electrons"]) / bound
    some = (snr > BINS[0]) & (others < ALONE_SIGMA * bound)
    alone, snr = alone[some], snr[some]
    distance, nearest = _tree(measured).query(np.column_stack([alone["x"], alone["y"]]))
    rows = measured[nearest]
    masked = (distance < MATCH_PIXELS) & (np.asarray(rows["flags_psf"]) != 0)
    alone, snr, distance, rows = alone[~masked], snr[~masked], distance[~masked], rows[~masked]
    found = distance < MATCH_PIXELS
    return Stars(snr, found, alone[found], rows[found])


def rows(stars: Stars) -> list[Row]:
    """Bright end, noise, pulls."""
    return [_bright(stars), _scatter(stars), _pulls(stars)]


def sky_row(stars: Stars) -> Row:
    """ra, dec of bright stars."""
    bright = stars.snr > BRIGHT
    ours, theirs = (unit_vectors(table["ra"][bright], table["dec"][bright]) for table in (stars.measured, stars.true))
    off = separation(ours, theirs) * 3600 / ARCSEC
    median = float(np.median(off))
    said = f"median {median:.4f} px, 95 % {np.percentile(off, 95):.4f}, n={len(off)} of S/N > {BRIGHT:g}"
    met = median <= 0.02 if len(off) >= FEWEST_BRIGHT else None
    return Row("astrometry: that frame's ra, dec against the truth", "<= 0.02 px", said, met)


def _bright(stars: Stars) -> Row:
    bright = stars.snr > BRIGHT
    psf, aperture = (1e3 * stars.fainter(kind)[bright] for kind in ("psf", "apcor"))
    photons = float(np.median(1e3 * MAG_PER_LN / stars.snr[bright]))
    medians = [float(np.nanmedian(off)) for off in (psf, aperture)]
    said = (
        f"PSF {medians[0]:+.2f}, aperture {medians[1]:+.2f} +- {1.25 * _width(psf) / np.sqrt(bright.sum()):.2f} mmag, "
        f"scatter {_width(psf):.2f} (its noise {photons:.2f}), n={bright.sum()} of S/N > {BRIGHT:g}"
    )
    met = max(map(abs, medians)) <= 2 if bright.sum() >= FEWEST_BRIGHT else None
    return Row("isolated stars of that frame, bright end", "<= 2 mmag", said, met)


def _scatter(stars: Stars) -> Row:
    """Scatter over the Cramer-Rao bound, by bins of true S/N down to where almost all are found."""
    off = stars.brighter * stars.snr
    parts, judged = [], []
    for low, high in pairwise((*BINS, np.inf)):
        there = (stars.all_snr > low) & (stars.all_snr <= high)
        some = (stars.snr > low) & (stars.snr <= high)
        if some.sum() >= FEWEST:
            share, ratio = float(stars.found[there].mean()), _width(off[some])
            if share >= FOUND_SHARE:
                judged.append(ratio)
            text = f"{low:g}: {ratio:.3f} +- {1.17 * ratio / np.sqrt(some.sum()):.3f}"
            parts.append(text + ("" if share >= FOUND_SHARE else f" ({share:.0%} found: not judged)"))
    worst = max(judged, default=np.nan)
    said = f"worst {worst:.3f}; from S/N " + ", ".join(parts)
    return Row("their scatter over the theoretical noise", "<= 1.15", said, bool(worst <= 1.15) if judged else None)


def _pulls(stars: Stars) -> Row:
    some = (stars.snr > BINS[1]) & (stars.snr < BRIGHT)
    error = stars.measured["flux_psf_err"] / stars.measured["flux_psf"] * (1 + stars.brighter)
    pulls = {"flux": stars.brighter / error}
    for axis in ("x", "y"):
        pulls[axis] = (stars.measured[axis] - np.asarray(stars.true[axis])) / stars.measured[f"{axis}_err"]
    widths = {name: _width(values[some & np.isfinite(values)]) for name, values in pulls.items()}
    text = ", ".join(f"{name} {width:.3f}" for name, width in widths.items())
    met = all(0.95 <= width <= 1.05 for width in widths.values())
    n = int(some.sum())
    said = f"{text}; +- {1.17 / np.sqrt(n):.3f}, n={n}" + ("" if n >= FEWEST_PULLS else ": too few to judge")
    return Row("their pulls", ".95-1.05", said, met if n >= FEWEST_PULLS else None)


def _light_near(true: Table) -> Array:
    """Electrons of each star's neighbours."""
    light = np.asarray(true["electrons"])
    pairs = _tree(true).query_pairs(ALONE_PIXELS, output_type="ndarray")
    others = np.zeros(len(light))
    for a, b in (pairs.T, pairs.T[::-1]):
        np.add.at(others, a, light[b])
    return others


def _noise(stars: Table, said: dict) -> Array:
    """Standard deviation, electrons, of the best measurement of a star whose place and PSF are known (Cramer-Rao)."""
    shape, settings = tuple(said["projection"]["shape"]), said["settings"]
    psf = Psf(**said["psf"])
    x, y = (np.asarray(stars[name]) for name in ("x", "y"))
    u, v = (2 * place / (side - 1) - 1 for place, side in ((x, shape[1]), (y, shape[0])))
    flat = 1 - VIGNETTING * ((u**2 + v**2) / 2 - 1 / 3)
    dark = DARK_RATE * np.exp(DARK_SPREAD**2 / 2) * settings["seconds"]
    read = np.mean([one["read_noise"] ** 2 for one in said["amplifiers"]])
    sky = said["sky_electrons"] / flat + (dark + read) / flat**2  # of a pixel, after the flat
    out = np.empty(len(stars))
    for i, electrons in enumerate(stars["electrons"]):
        light = stamp(psf, x[i], y[i], shape, STAMP_HALF)
        out[i] = 1 / np.sqrt((light**2 / (sky[i] + electrons * light / flat[i])).sum())
    return out


def _tree(table: Table | NDArray[np.void]) -> cKDTree:
    return cKDTree(np.column_stack([table["x"], table["y"]]))


def _width(values: Array) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
