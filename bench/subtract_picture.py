"""`python -m bench.subtract_picture OUT.png`: our difference beside a plain one; from the root of the repository.

Draws docs/subtraction.png: science, template, our difference and the plain Alard-Lupton one (`bench.subtract_plain`, which
is not HOTPANTS but has its usual settings), round three places that rules choose from the simulation's truth.  Both are
given the two frames and nothing else: no masks.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import fitsio
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from scipy import ndimage
from scipy.spatial import cKDTree

from bench.subtract_pairs import pair
from bench.subtract_plain import Counts, beyond, plain_difference
from bench.subtract_quality import FIELDS
from photometry.frame import NoiseOverrides
from photometry.mask import BAD_BITS
from photometry.pair import DIFFERENCE, subtract_pair
from photometry.settings import Settings
from photometry.subtraction.reading import Given
from photometry.threads import start_threads

FIELD, SEED = FIELDS[0].field, 1  # stress: a pair that bench.subtract scores too
CUT_HALF, ZOOM = 60, 2  # pixels; screen pixels across one
GAP, TEXT, TITLE = 6, 15, 24  # screen pixels
SPAN_SIGMA = 5.0  # of a pixel: from mid-grey to black and white
LIT_SIGMA, SOFT_SIGMA = (-2.0, 200.0), 3.0  # of the frames: black, white, and where the scale turns logarithmic
MASKED, BEYOND, CHANGED = (70, 110, 190), (230, 120, 0), (0, 150, 60)
RING = 12  # screen pixels: radius of what marks a change
SHOWN_SNR = (10.0, 20.0)  # of the transient
CROWD_PIXELS, CROWD_FLUX = 30.0, 1000.0
CLEAR_PIXELS = 12  # round the bright star, in which nothing is saturated or bad
SATURATED, BAD_COLUMN = 2, 1  # bits of sim_pair's masks

Plane = NDArray[np.floating]
Place = tuple[int, int]


@dataclass(frozen=True)
class Shown:
    """Planes to be cut from, each in the sigmas that it is drawn with: frames of the sky, differences of the pixel.

    masked: by us; beyond: what HOTPANTS would mask; changed (n, 2): x, y of what truly changed.
    """

    science: Plane
    template: Plane
    ours: Plane
    plain: Plane
    masked: NDArray[np.bool_]
    beyond: NDArray[np.bool_]
    changed: NDArray[np.int64]


def main() -> int:
    """-> 0: the picture is there."""
    parser = argparse.ArgumentParser(prog="python -m bench.subtract_picture", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT.png")
    parser.add_argument(
        "--pairs", type=Path, metavar="DIR", default=Path("build/pairs"), help="where they are kept (default: build/pairs)"
    )
    options = parser.parse_args()
    options.pairs.mkdir(parents=True, exist_ok=True)
    place = pair(FIELD, SEED, options.pairs.resolve())
    truth = np.genfromtxt(place / "sources.csv", delimiter=",", names=True, dtype=None, encoding="ascii")
    shown = subtracted(place, truth)
    rows = places(place, truth)
    draw(shown, rows).save(options.out, optimize=True)
    for label, (x, y) in rows:
        print(f"{label}: {x}, {y}")
    return 0


def subtracted(place: Path, truth: NDArray[np.void]) -> Shown:
    """Both differences of a pair, in units of VAR's root: one noise for both, so that the greys compare."""
    frames = [_counts(place / f"{name}.fits") for name in ("sci", "ref")]
    with start_threads() as threads:
        plain = plain_difference(frames[0], frames[1], _stars(truth), threads)
    with tempfile.TemporaryDirectory() as folder:
        given = [Given(place / f"{name}.fits", NoiseOverrides()) for name in ("sci", "ref")]
        subtract_pair(given[0], given[1], Path(folder), Settings(gpu="off"), ("DIFF", "VAR", "MASK"))
        ours, variance, mask = (fitsio.read(Path(folder) / DIFFERENCE, ext=name) for name in ("DIFF", "VAR", "MASK"))
    sigma = np.sqrt(variance)
    lit = [f.pixels / np.sqrt(np.median(f.variance())) for f in frames]
    masked, spoilt = (mask & int(BAD_BITS)) != 0, beyond(frames[0]) | beyond(frames[1])
    return Shown(lit[0], lit[1], ours / sigma, plain / sigma, masked, spoilt, _changed(truth))


def _counts(path: Path) -> Counts:
    pixels, header = fitsio.read(path, header=True)
    return Counts(pixels.astype(np.float32), float(header["GAIN"]), float(header["RDNOISE"]))


def _stars(truth: NDArray[np.void]) -> NDArray[np.void]:
    """x, y, flux of the stars that do not vary."""
    chosen = truth[(truth["kind"] == "star") & (truth["var"] == 0)]
    out = np.zeros(len(chosen), [("x", "f8"), ("y", "f8"), ("flux", "f8")])
    out["x"], out["y"], out["flux"] = chosen["x"], chosen["y"], chosen["flux_sci"]
    return out


def _changed(truth: NDArray[np.void]) -> NDArray[np.int64]:
    """(n, 2) x, y of the transients, and of the stars that vary by as much as the faintest of them."""
    new = truth["kind"] == "tran"
    change = np.abs(truth["flux_sci"] * truth["var"] / (1 + truth["var"]))
    chosen = truth[new | (change >= truth["flux_sci"][new].min())]
    return np.asarray(np.rint(np.stack([chosen["x"], chosen["y"]], axis=1)), np.int64)


def places(place: Path, truth: NDArray[np.void]) -> list[tuple[str, Place]]:
    """What is shown, and where: by rule, so that nobody has chosen what looks best."""
    mask = fitsio.read(place / "mask_sci.fits") | fitsio.read(place / "mask_ref.fits")
    ny, nx = mask.shape
    x, y = np.rint(truth["x"]).astype(int), np.rint(truth["y"]).astype(int)
    inside = (np.minimum(x, nx - 1 - x) > CUT_HALF) & (np.minimum(y, ny - 1 - y) > CUT_HALF)
    truth, x, y = truth[inside], x[inside], y[inside]
    star, steady = truth["kind"] == "star", truth["var"] == 0
    saturated = np.flatnonzero(star & ((mask[y, x] & SATURATED) != 0))
    to_column = ndimage.distance_transform_edt((mask & BAD_COLUMN) == 0)
    beside = int(saturated[np.argmin(to_column[y[saturated], x[saturated]])])
    snr = truth["snr"]
    moderate = np.flatnonzero((truth["kind"] == "tran") & (snr > SHOWN_SNR[0]) & (snr < SHOWN_SNR[1]) & (mask[y, x] == 0))
    bright = star & (truth["flux_sci"] > CROWD_FLUX)
    tree = cKDTree(np.stack([x[bright], y[bright]], axis=1))
    near = tree.query_ball_point(np.stack([x[moderate], y[moderate]], axis=1), CROWD_PIXELS, return_length=True)
    crowded = int(moderate[np.argmax(near)])
    spoilt = ndimage.maximum_filter(mask, 2 * CLEAR_PIXELS + 1)
    clear = np.flatnonzero(star & steady & (spoilt[y, x] == 0))
    brightest = int(clear[np.argmax(truth["flux_sci"][clear])])
    return [
        ("saturated star beside a bad column", (x[beside], y[beside])),
        (f"transient, S/N {snr[crowded]:.0f}, among stars", (x[crowded], y[crowded])),
        ("the brightest star that is not saturated", (x[brightest], y[brightest])),
    ]


def draw(shown: Shown, rows: list[tuple[str, Place]]) -> Picture.Image:
    """Four columns, a row for each place; row 0 of a frame at the bottom."""
    side = ZOOM * (2 * CUT_HALF + 1)
    titles = ("science", "template", "ast3: difference", "plain Alard-Lupton: difference")
    width, height = len(titles) * (side + GAP) + GAP, TITLE + len(rows) * (side + TITLE) + 2 * TITLE
    picture = Picture.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(TEXT)
    for i, title in enumerate(titles):
        pen.text((GAP + i * (side + GAP) + side / 2, TITLE / 2), title, "black", font, anchor="mm")
    for j, (label, place) in enumerate(rows):
        top = TITLE + j * (side + TITLE)
        pen.text((GAP, top + TITLE / 2), label, "black", font, anchor="lm")
        for i, panel in enumerate(_panels(shown, place)):
            picture.paste(panel, (GAP + i * (side + GAP), top + TITLE))
    keys = ((MASKED, "blue: masked by ast3"), (BEYOND, "orange: HOTPANTS would mask"), (CHANGED, "green: truly changed"))
    for i, (colour, words) in enumerate(keys):
        pen.text((GAP + i * width / 3, height - 1.5 * TITLE), words, colour, font, anchor="lm")
    low, high = LIT_SIGMA
    said = (
        f"black to white: {low:g} to {high:g} sigma of the sky; differences: -{SPAN_SIGMA:g} to {SPAN_SIGMA:g} of the pixel"
    )
    pen.text((GAP, height - 0.5 * TITLE), said, "black", font, anchor="lm")
    return picture


def _panels(shown: Shown, place: Place) -> list[Picture.Image]:
    """A row."""
    x, y = place
    box = slice(y - CUT_HALF, y + CUT_HALF + 1), slice(x - CUT_HALF, x + CUT_HALF + 1)
    frames = [_panel(_lit(plane[box] - np.median(plane[box]))) for plane in (shown.science, shown.template)]
    ours = np.repeat(_even(shown.ours[box])[:, :, None], 3, axis=2)
    ours[shown.masked[box]] = ours[shown.masked[box]] // 2 + np.array(MASKED, np.uint8) // 2
    plain = np.repeat(_even(shown.plain[box])[:, :, None], 3, axis=2)
    plain[ndimage.binary_dilation(shown.beyond)[box] & ~shown.beyond[box]] = BEYOND
    differences = [_panel(colours) for colours in (ours, plain)]
    for a, b in shown.changed - (x - CUT_HALF, y - CUT_HALF):
        middle = ZOOM * (a + 0.5), ZOOM * (2 * CUT_HALF + 0.5 - b)
        for panel in differences:
            ImageDraw.Draw(panel).circle(middle, RING, outline=CHANGED)
    return [*frames, *differences]


def _panel(colours: NDArray[np.uint8]) -> Picture.Image:
    """Enlarged, row 0 at the bottom; (n, n) grey or (n, n, 3)."""
    return Picture.fromarray(colours[::-1].repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)).convert("RGB")


def _lit(sigmas: Plane) -> NDArray[np.uint8]:
    """Most greys near the sky."""
    soft = [float(np.arcsinh(limit / SOFT_SIGMA)) for limit in LIT_SIGMA]
    return _bytes((np.arcsinh(sigmas / SOFT_SIGMA) - soft[0]) / (soft[1] - soft[0]))


def _even(sigmas: Plane) -> NDArray[np.uint8]:
    """Zero is mid-grey."""
    return _bytes(0.5 + sigmas / (2 * SPAN_SIGMA))


def _bytes(share: Plane) -> NDArray[np.uint8]:
    return np.asarray(np.clip(share, 0, 1) * 255, np.uint8)


if __name__ == "__main__":
    sys.exit(main())
