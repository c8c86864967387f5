"""The demo's pictures: the supernova's three stamps, its light curve, and the night on one page.

Drawn from the products alone, with the truth beside them.  matplotlib comes with the `demo` extra.
"""

from pathlib import Path
from typing import Any

import numpy as np

from skysim.lightcurve import Curve
from skysim.report import FrameResult

STAMPS = ("science", "template", "difference")
COLOURS = {"supernova": "#ff5a36", "variable": "#2f9bff", "mover": "#36c26b"}
FALSE_COLOUR = "#d9a400"
RING_PIXELS = 28.0  # radius of the marks on the frame
PALETTE_COLOURS = 256  # noise does not compress: fewer colours make a picture that fits a README
DPI = 100


def draw_pictures(folder: Path, best: FrameResult, curve: Curve) -> list[Path]:
    """Write supernova_triplet.png, supernova_lightcurve.png and night.png into `folder`; their paths.

    `best` is the frame to show; the supernova was found in it.
    """
    from matplotlib.figure import Figure

    stamps = read_stamps(best)
    triplet = Figure(figsize=(9, 3.3), dpi=DPI, layout="constrained")
    draw_triplet(list(triplet.subplots(1, 3)), stamps)
    triplet.suptitle(f"The supernova in {best.truth.name}, true S/N {best.truth.targets['supernova'].snr:.0f}")
    light = Figure(figsize=(8, 5), dpi=DPI, layout="constrained")
    draw_curve(light.subplots(), curve)
    night = Figure(figsize=(11.5, 6.6), dpi=DPI, layout="constrained")
    left, right = night.subfigures(1, 2, width_ratios=(1.28, 1), squeeze=False)[0]
    upper, lower = right.subfigures(2, 1, height_ratios=(0.62, 1), squeeze=False)[:, 0]
    draw_frame(left.subplots(), best)
    draw_triplet(list(upper.subplots(1, 3)), stamps)
    draw_curve(lower.subplots(), curve)
    pictures = {"supernova_triplet.png": triplet, "supernova_lightcurve.png": light, "night.png": night}
    return [_save(figure, folder / name) for name, figure in pictures.items()]


def _save(figure: Any, path: Path) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    picture.quantize(PALETTE_COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def read_stamps(result: FrameResult) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """The stamps of the supernova by name, (63, 63) each, of a frame in which it was found."""
    from astropy.io import fits

    match = result.found("supernova")
    assert match is not None
    assert result.folder is not None
    with fits.open(result.folder / "stamps" / f"{match[0].number:04d}.fits") as hdus:
        return {name: np.asarray(hdus[name].data) for name in STAMPS}


def draw_triplet(axes: list[Any], stamps: dict[str, Any]) -> None:
    """Science, template and difference: the first two on one scale, the difference on its own noise."""
    for ax, name in zip(axes, STAMPS, strict=True):
        ax.set_xticks([])
        ax.set_yticks([])
        ax.set_title(name, fontsize=9)
        pixels = stamps[name]
        scale = stamps["difference"] if name == "difference" else stamps["science"]
        level = float(np.nanmedian(scale))
        noise = 1.4826 * float(np.nanmedian(np.abs(scale - level)))
        ax.imshow(
            pixels, origin="lower", cmap="gray", vmin=level - 3 * noise, vmax=level + 15 * noise, interpolation="nearest"
        )


def draw_curve(ax: Any, curve: Curve) -> None:
    """Measured against true difference fluxes, both as they would be through clear air."""
    ax.plot(curve.hours, curve.true, color="#888888", lw=1.5, label="true", zorder=1)
    ax.errorbar(
        curve.hours, curve.forced, curve.forced_err, fmt="o", ms=5, mfc="none", color="#222222", label="forced", zorder=2
    )
    ax.errorbar(
        curve.hours, curve.found, curve.found_err, fmt="o", ms=4, color=COLOURS["supernova"], label="found", zorder=3
    )
    ax.axhline(0, color="#cccccc", lw=0.8, zorder=0)
    ax.set_xlabel("hours since the first frame")
    ax.set_ylabel("supernova's flux through clear air, adu")
    ax.legend(frameon=False, loc="upper left", fontsize=9)


def draw_frame(ax: Any, result: FrameResult) -> None:
    """The frame's preview with a ring round everything that was found."""
    from matplotlib.image import imread
    from matplotlib.patches import Circle
    from matplotlib.patheffects import withStroke

    dark = [withStroke(linewidth=3, foreground="black")]  # legible over stars
    assert result.folder is not None
    ax.imshow(imread(result.folder / "preview.png"), cmap="gray", extent=_extent(result.folder), interpolation="antialiased")
    for row in result.listed:
        colour, label = FALSE_COLOUR, "false"
        for name in result.truth.targets:
            match = result.found(name)
            if match is not None and match[0] is row:
                colour, label = COLOURS[name], f"{name}, score {row.score:.0f}"
        ax.add_patch(Circle((row.x, row.y), RING_PIXELS, fill=False, color=colour, lw=1.6))
        ax.text(row.x + 1.3 * RING_PIXELS, row.y, label, color=colour, fontsize=9, va="center", path_effects=dark)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_title(f"{result.truth.name}: everything that was found", fontsize=9)


def _extent(folder: Path) -> tuple[float, float, float, float]:
    from astropy.io import fits

    header = fits.getheader(folder / "difference.fits", "DIFF")
    return (-0.5, header["NAXIS1"] - 0.5, -0.5, header["NAXIS2"] - 0.5)
