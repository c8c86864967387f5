"""From a raw frame to electrons with variance and mask, in two passes over bands of rows.

The first pass reads the frame and takes away what the electronics and the dark add; the smear of a frame transfer needs each
column's whole sum, so gain and flat wait for the second.  Nothing but the result is of the size of the frame.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from photometry.calibration.geometry import Geometry, Rank
from photometry.calibration.masters import ANY_FILTER, Master, Masters
from photometry.calibration.rawframe import RawFrame, open_raw
from photometry.calibration.stages import CHARGE, LIGHT, Band, Recipe, Smear, recipe_of, smear_of
from photometry.detector import Detector
from photometry.errors import BadFrameError
from photometry.fits_map import Pixels
from photometry.image import Image
from photometry.loops.bleed import find_saturated, flag_bleeds
from photometry.loops.readout import add_columns
from photometry.mask import Bit

MOST_SATURATED = 0.5  # of the pixels: beyond it there is nothing to calibrate
SMEAR_SIGMA = 1.0  # of the sky's noise: a column whose saturated charge smears more is doubted

Figures = dict[str, Any]


@dataclass(frozen=True)
class Calibrated:
    """image: electrons, gain 1; figures of the stages, for the manifest; notes: what was missing, one line each."""

    image: Image
    figures: Figures
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Sums:
    """Of each column's charge, and of that in saturated pixels, adu; the largest crosstalk, adu."""

    charge: dict[Rank, NDArray[np.float64]]
    saturated: dict[Rank, NDArray[np.float64]]
    crosstalk: float


def calibrate(
    pixels: Pixels, detector: Detector, masters: Masters, seconds: float | None, band: str, threads: Executor
) -> Calibrated:
    """Calibrate one raw frame.

    seconds: of the exposure, None where nobody says: then neither dark nor smear is taken away.  band: the frame's filter.
    BadFrameError: it is cut off meanwhile, or saturated as a whole.
    """
    notes: list[str] = []
    geometry = Geometry(detector)
    frame = open_raw(pixels, geometry, threads, notes)
    recipe = recipe_of(geometry, masters.bias, masters.dark, _flat(masters, band, notes), masters.mask, seconds)
    _say_what_is_missing(recipe, frame, notes)
    shape = detector.chip_shape
    data, variance = (np.empty(shape, np.float32) for _ in range(2))
    mask = np.empty(shape, np.uint16)

    def cut(rank: Rank, first: int, last: int) -> Band:
        rows = geometry.chip_rows(rank, first, last)
        return Band(rank, rows, data[rows], variance[rows], mask[rows])

    sums = _collect(frame, recipe, cut, threads)
    smears = _smears(frame, recipe, sums)
    places = _finish(frame, recipe, smears, cut, threads)
    saturated = sum(len(part) for part in places.values())
    if saturated > MOST_SATURATED * data.size:
        raise BadFrameError(
            f"saturated: {saturated / data.size:.0%} of the pixels; at most {MOST_SATURATED:.0%} leave something to see"
        )
    bled = 0
    for rank, part in places.items():
        rows = geometry.chip_rows(rank, 0, geometry.rows)
        bled += flag_bleeds(data, variance, mask, part, rows.start, rows.stop)
    gain = float(np.median([channel.gain for channel in geometry.channels]))
    read_noise = float(np.median([channel.read_noise for channel in geometry.channels]))
    least = min(float(level) * channel.gain for level, channel in zip(frame.saturation, geometry.channels, strict=True))
    figures = {
        **_overscan_figures(frame),
        "gain": gain,
        "saturated_fraction": saturated / data.size,
        "bled_pixels": bled,
        "crosstalk_largest_electrons": sums.crosstalk * gain,
        **_smear_figures(frame, smears, sums, variance, mask, recipe),
        "calibration": masters.version,
    }
    return Calibrated(Image(data, variance, mask, "electron", 1.0, read_noise, least), figures, tuple(notes))


def _flat(masters: Masters, band: str, notes: list[str]) -> Master | None:
    found = masters.flats.get(band) or masters.flats.get(ANY_FILTER)
    if found is None:
        notes.append(f"no master flat of the filter {band!a}: not flat-fielded")
    return found


def _say_what_is_missing(recipe: Recipe, frame: RawFrame, notes: list[str]) -> None:
    if recipe.bias is None:
        notes.append("no master bias: only the overscan's level is subtracted")
        if None in frame.levels:
            notes.append("neither overscan nor master bias: the level of the electronics is not subtracted")
    if recipe.dark is None:
        notes.append("no master dark: not subtracted")
    if recipe.seconds is None or recipe.seconds <= 0:
        if recipe.dark is not None and recipe.seconds is None:
            notes.append("the header does not say how long the exposure was: the dark is not subtracted")
        if frame.geometry.detector.row_seconds is not None:
            notes.append("the header does not say how long the exposure was: the smear is not removed")


def _collect(frame: RawFrame, recipe: Recipe, cut: Callable[[Rank, int, int], Band], threads: Executor) -> _Sums:
    """The first pass: the planes hold charge in adu, without bias and dark, and its variance."""
    geometry, columns = frame.geometry, frame.geometry.detector.chip_shape[1]

    def one(piece: tuple[int, int]) -> _Sums:
        adu, flags, crosstalk = frame.read(*piece)
        sums = _Sums({}, {}, crosstalk)
        for rank in geometry.ranks:
            band = cut(rank, *piece)
            geometry.put(rank, adu, band.data)
            geometry.put(rank, flags, band.bits)
            band.variance[:] = frame.level_variance(rank)
            if recipe.mask is not None:
                np.bitwise_or(band.bits, recipe.mask[band.rows], out=band.bits)
            for _, stage in CHARGE:
                stage(band, recipe)
            sums.charge[rank], sums.saturated[rank] = np.zeros(columns), np.zeros(columns)
            add_columns(band.data, band.bits, sums.charge[rank], sums.saturated[rank])
        return sums

    parts = list(threads.map(one, frame.bands))
    charge, saturated = (
        {rank: np.sum([getattr(part, name)[rank] for part in parts], axis=0) for rank in geometry.ranks}
        for name in ("charge", "saturated")
    )
    return _Sums(charge, saturated, max(part.crosstalk for part in parts))


def _share(frame: RawFrame, recipe: Recipe) -> float | None:
    """The time that a row takes to pass over the exposure's; None: no smear that could be removed."""
    row = frame.geometry.detector.row_seconds
    if row is None or not recipe.seconds or recipe.seconds <= row:
        return None
    return row / recipe.seconds


def _smears(frame: RawFrame, recipe: Recipe, sums: _Sums) -> dict[Rank, Smear]:
    share = _share(frame, recipe)
    if share is None:
        return {}
    return {rank: smear_of(sums.charge[rank], frame.geometry.rows, share) for rank in frame.geometry.ranks}


def _finish(
    frame: RawFrame, recipe: Recipe, smears: dict[Rank, Smear], cut: Callable[[Rank, int, int], Band], threads: Executor
) -> dict[Rank, NDArray[np.int32]]:
    """The second pass: the planes hold electrons; y, x of the saturated pixels of each rank."""
    pieces = [(rank, *piece) for piece in frame.bands for rank in frame.geometry.ranks]

    def one(piece: tuple[Rank, int, int]) -> NDArray[np.int32]:
        band = cut(*piece)
        for _, stage in LIGHT:
            stage(band, recipe, smears.get(band.rank))
        return np.asarray(find_saturated(band.bits, band.rows.start))

    found: dict[Rank, list[NDArray[np.int32]]] = {rank: [] for rank in frame.geometry.ranks}
    for (rank, *_), places in zip(pieces, threads.map(one, pieces), strict=True):
        found[rank].append(places)
    return {rank: np.concatenate(parts) for rank, parts in found.items()}


def _overscan_figures(frame: RawFrame) -> Figures:
    named = [
        (channel, level) for channel, level in zip(frame.geometry.channels, frame.levels, strict=True) if level is not None
    ]
    return {
        "overscan_adu": {channel.name: round(float(np.median(level.rows)), 2) for channel, level in named},
        "overscan_noise_electrons": {channel.name: round(level.noise * channel.gain, 2) for channel, level in named},
        "overscan_rows_mended": sum(level.mended for _, level in named),
        "overscan_smoothed": all(level.smoothed for _, level in named) if named else None,
    }


def _smear_figures(
    frame: RawFrame, smears: dict[Rank, Smear], sums: _Sums, variance: NDArray[np.float32], mask: NDArray[np.uint16],
    recipe: Recipe,
) -> Figures:  # fmt: skip
    """The smear's share of the charge, and the columns that are flagged HALO: what saturation hid smears there unknown."""
    share = _share(frame, recipe)
    if share is None:
        return {"smear_share": None, "smear_uncertain_columns": 0}
    uncertain = 0
    for rank in smears:
        rows = frame.geometry.chip_rows(rank, 0, frame.geometry.rows)
        noise = np.sqrt(np.median(variance[rows][::64, ::16]))
        # what is above the converter's ceiling is not known: taken to be as much as what is below it
        doubted = share * sums.saturated[rank] * recipe.gain[rank] > SMEAR_SIGMA * noise
        mask[rows, doubted] |= np.uint16(Bit.HALO)
        uncertain += int(np.count_nonzero(doubted))
    return {"smear_share": share * frame.geometry.rows, "smear_uncertain_columns": uncertain}
