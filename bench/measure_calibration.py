"""What calibration is worth, measured: its noise against what physics leaves, its time and memory, flatness, trails.

`python -m bench.measure_calibration [--side N]`; N: of the large frame, 10560 if not said.  Times are CPU seconds of all
threads beside the wall's, for others may share the machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import sep
from astropy.io import fits
from numpy.typing import NDArray
from scipy import ndimage

from bench.raw_camera import HEADER, Camera, ast3_like, expose, make_camera, write
from bench.table import Row, show
from photometry.calibration import calibrate, load_masters, mark_blemishes
from photometry.calibration.build import build_masters
from photometry.calibration.commands import apply, build
from photometry.calibration.files import BYTE, finish_master, master_file
from photometry.detector import detector
from photometry.fits_map import open_pixels
from photometry.frame import read_frame
from photometry.image import Image
from photometry.manifest import write_manifest
from photometry.plane_file import PlaneFile
from photometry.subtraction.files import mask_header
from photometry.threads import start_threads
from photometry.times import exposure_of

DATA = Path(os.environ.get("AST3_TESTDATA", "../shared/data"))
SKY, SECONDS = 1000.0, 60.0  # electrons a pixel, and s
MEDIUM = 2640  # side of the smaller frame
STEP = 16  # every so many rows and columns of a frame for its noise
REPEATS = 5
FRAMES = {"bias": 6, "dark": 4, "flat": 5}
MOST_NOISE, MOST_SECONDS, MOST_MB = 1.05, 2.0, 1600.0


def rows(side: int = 10560) -> list[Row]:
    """All figures."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        small, few = medium(place / "medium", MEDIUM)
        large, many = _large(place / "large", side)
    growth = (many["cpu"] / few["cpu"]) / (side / MEDIUM) ** 2
    return [
        *small, *large,
        Row(f"growth of CPU time from {MEDIUM}^2, per pixel", "<= 1.2", f"{growth:.2f}", growth <= 1.2),
        *lowell(), *saao(), *_trails(),
    ]  # fmt: skip


def medium(place: Path, side: int) -> tuple[list[Row], dict[str, Any]]:
    """Masters and a frame of side x side pixels, simulated; the first row is the noise.  Second: figures of its time."""
    place.mkdir()
    camera = make_camera(ast3_like(side), 1)
    seeds = iter(range(100, 200))
    lights = {"bias": (0.0, 0.0), "dark": (0.0, SECONDS), "flat": (25000.0, 5.0)}
    paths = [
        write(place / f"{kind}{k}.fits", expose(camera, light, seconds, next(seeds)), kind, seconds)
        for kind, (light, seconds) in lights.items() for k in range(FRAMES[kind])
    ]  # fmt: skip
    masters = place / "masters"
    masters.mkdir()
    start = time.process_time()
    with start_threads() as threads:
        build_masters(paths, camera.instrument, masters, threads, dark_from_science=False, most_megapixels=200)
    built = time.process_time() - start
    write_manifest(masters, {"instrument": camera.instrument.name})
    frame = write(place / "light.fits", expose(camera, SKY, SECONDS, 9), "object", SECONDS)
    found = _in_a_process(frame, masters, side)
    n = ", ".join(f"{count} {kind}" for kind, count in FRAMES.items())
    return [
        *_noise_rows(camera, found, f"{side}^2, masters of {n}"),
        Row(f"masters of {sum(FRAMES.values())} frames of {side}^2", "-", f"{built:.1f} s CPU", None),
    ], found


def _large(place: Path, side: int) -> tuple[list[Row], dict[str, Any]]:
    """The full chip, with masters as 16 frames of each kind would give them."""
    place.mkdir()
    camera = make_camera(ast3_like(side), 1)
    masters = place / "masters"
    _ideal_masters(camera, masters)
    frame = write(place / "light.fits", expose(camera, SKY, SECONDS, 9), "object", SECONDS)
    found = _in_a_process(frame, masters, side)
    taken = f"{found['cpu']:.2f} s CPU, {found['wall']:.2f} s wall, the least of {REPEATS}"
    later = f"{found['blemish_cpu']:.2f} s CPU, {found['blemish_wall']:.2f} s wall, n = 1"
    return [
        *_noise_rows(camera, found, f"{side}^2"),
        Row(f"{side}^2 raw to electrons, variance, mask", "<= 2 s on 2 cores", taken, found["cpu"] <= 2 * MOST_SECONDS),
        Row("its peak memory", f"< {MOST_MB:.0f} MB", f"{found['peak_mb']:.0f} MB", found["peak_mb"] < MOST_MB),
        Row(f"cosmic rays and trails on {side}^2", "-", later, None),
    ], found


def _ideal_masters(camera: Camera, folder: Path) -> None:
    folder.mkdir()
    rng = np.random.default_rng(2)
    shape, read = camera.chip.chip_shape, camera.chip.amplifiers[0].read_noise
    gain = camera.chip.amplifiers[0].gain
    dark_noise = np.sqrt((read**2 + 0.4 * SECONDS) / 16) / gain / SECONDS
    made = {
        "bias.fits": (camera.bias, read / gain / 4, "adu"), "dark.fits": (camera.dark / gain, dark_noise, "adu/s"),
        "flat.i.fits": (camera.flat, 1 / np.sqrt(16 * 25000.0), ""),
    }  # fmt: skip
    with start_threads() as threads:
        for name, (value, sigma, unit) in made.items():
            file = master_file(folder / name, shape)
            for y0 in range(0, shape[0], 480):
                part = value[y0 : y0 + 480]
                noise = np.float32(sigma) * rng.standard_normal(part.shape, np.float32)
                file.planes["VALUE"][y0 : y0 + len(part)] = part + noise
                file.planes["VAR"][y0 : y0 + len(part)] = np.full(part.shape, sigma**2, np.float32)
            finish_master(file, unit, "simulated", {"NCOMBINE": 16}, threads)
        mask = PlaneFile(folder / "mask.fits", shape, {"MASK": BYTE}, {})
        mask.finish({"MASK": mask_header()}, threads)
    write_manifest(folder, {"instrument": camera.instrument.name})


def _noise_rows(camera: Camera, found: dict[str, Any], what: str) -> list[Row]:
    """Against sqrt(sky + dark + read noise^2 + masters^2), by the truth of every 16th row and column."""
    sample = np.load(found["sample"])
    step = (slice(None, None, STEP), slice(None, None, STEP))
    flat, dark = camera.flat[step], camera.dark[step] * SECONDS
    read = camera.chip.amplifiers[0].read_noise
    photons = (SKY * flat + dark + read**2) / flat**2
    expected = np.sqrt(np.mean(photons + sample["masters"]))
    blank = sample["mask"] == 0
    level = np.median(sample["data"][blank])
    # a flat of 1 for the typical pixel leaves the sky at the typical pixel's level
    noise = np.std(sample["data"][blank]) * SKY / level
    pull = np.std((sample["data"][blank] - level) / np.sqrt(sample["variance"][blank]))
    measured = f"{noise:.2f} over {expected:.2f} electrons = {noise / expected:.3f}, n = {blank.sum():,}"
    return [
        Row(f"noise of the calibrated sky, {what}", f"<= {MOST_NOISE}", measured, bool(noise <= MOST_NOISE * expected)),
        Row(f"its own VAR explains it, {what}", "1 +- .02", f"{pull:.3f}", bool(abs(pull - 1) <= 0.02)),
    ]


def _in_a_process(frame: Path, masters: Path, side: int) -> dict[str, Any]:
    """Calibrate it in a process of its own, whose memory is its alone."""
    sample = frame.with_suffix(".npz")
    command = [
        sys.executable,
        "-m",
        "bench.measure_calibration",
        "--child",
        str(frame),
        str(masters),
        str(sample),
        str(side),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "sample": sample}


def _child(frame: Path, masters: Path, sample: Path, side: int) -> None:
    instrument = ast3_like(side)
    chip = detector(instrument, HEADER, instrument.shape or (0, 0), [])
    walls, cpus = [], []
    with ExitStack() as stack:
        threads = stack.enter_context(start_threads())
        pixels = stack.enter_context(open_pixels(frame, 200))
        loaded = stack.enter_context(load_masters(masters, chip))
        seconds = exposure_of(pixels.header).seconds
        for i in range(1 + REPEATS):  # the first compiles
            found = None
            wall, cpu = time.monotonic(), time.process_time()
            found = calibrate(pixels, chip, loaded, seconds, "i", threads)
            if i:
                walls.append(time.monotonic() - wall)
                cpus.append(time.process_time() - cpu)
        assert found is not None
        peak = peak_mb()
        wall, cpu = time.monotonic(), time.process_time()
        mark_blemishes(found.image, threads)
        blemish_wall, blemish_cpu = time.monotonic() - wall, time.process_time() - cpu
        step = (slice(None, None, STEP), slice(None, None, STEP))
        share = [_sampled(getattr(loaded, name).variance, side) for name in ("bias", "dark")]
        flat, scatter = (_sampled(plane, side) for plane in (loaded.flats["i"].value, loaded.flats["i"].variance))
        gain = chip.amplifiers[0].gain
        own = (gain**2 * (share[0] + share[1] * SECONDS**2) + SKY**2 * scatter) / flat**2
        image = found.image
        np.savez(sample, data=image.data[step], variance=image.variance[step], mask=image.mask[step], masters=own)
    figures = {
        "wall": min(walls),
        "cpu": min(cpus),
        "peak_mb": peak,
        "blemish_wall": blemish_wall,
        "blemish_cpu": blemish_cpu,
    }
    print(json.dumps(figures))


def peak_mb() -> float:
    """Of this program: getrusage would tell that of the larger one that started it, too."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _sampled(plane: Any, side: int) -> NDArray[np.float32]:
    return np.concatenate([plane[y : y + 1][:, ::STEP] for y in range(0, side, STEP)]).astype(np.float32)


def flatness(data: NDArray[np.float32], hidden: NDArray[np.bool_]) -> tuple[float, int]:
    """Scatter of the medians of cells of 64 x 64 blank pixels over their median, without sources; how many cells."""
    side = 64
    covered = hidden.copy()
    for _ in range(3):
        sky = sep.Background(np.ascontiguousarray(data, np.float32), mask=covered, bw=128, bh=128)
        off = data - sky.back()
        smooth = ndimage.uniform_filter(np.where(covered, 0, off), 5)
        bright = (smooth > 1.5 * sky.globalrms) | (off > 4 * sky.globalrms)
        covered = hidden | ndimage.binary_dilation(
            ndimage.binary_opening(bright, iterations=1) | (off > 20 * sky.globalrms), iterations=8
        )
    ny, nx = (length // side for length in data.shape)
    shape = (ny, side, nx, side)
    cut = (slice(0, ny * side), slice(0, nx * side))
    cells = np.where(covered, np.nan, data)[cut].reshape(shape).transpose(0, 2, 1, 3).reshape(ny * nx, -1)
    enough = np.isfinite(cells).sum(axis=1) > 0.2 * side**2
    medians = np.nanmedian(cells[enough], axis=1)
    return float(np.std(medians) / np.median(medians)), int(enough.sum())


def lowell() -> list[Row]:
    """How flat the sky of real frames is, that have biases and flats."""
    folder = DATA / "lowell42_5945"
    if not folder.is_dir():
        return [Row("sky of lowell42, large scale", "<= 1 %", f"no frames in {DATA}", None)]
    worst, before, cells = 0.0, 0.0, 0
    lights = sorted((folder / "light").glob("*.fz"))[1:]  # the first is in twilight
    with tempfile.TemporaryDirectory() as place:
        masters = Path(place) / "masters"
        masters.mkdir()
        told = build(
            [*(folder / "bias").glob("*.fz"), *(folder / "flat_VR").glob("*.fz")],
            "lowell42",
            masters,
            dark_from_science=False,
        )
        flat = fits.getdata(masters / "flat.VR.fits", "VALUE").astype(np.float32)
        for light in lights:
            apply(light, "lowell42", masters, Path(place) / light.stem)
            with fits.open(Path(place) / light.stem) as units:
                data, hidden = units["SCI"].data.astype(np.float32), (units["MASK"].data != 0) | (flat < 0.9)
            after, n = flatness(data, hidden)
            worst, cells = max(worst, after), cells + n
            before = max(before, flatness(data * flat, hidden)[0])
    used = told["figures"]["frames_used"]
    return [
        Row(
            f"sky of {len(lights)} lowell42 frames, large scale, worst", "<= 1 %",
            f"{worst:.2%} ({before:.2%} before the flat), {cells} cells, masters of {used} frames", worst <= 0.01,
        )
    ]  # fmt: skip


def saao() -> list[Row]:
    """Of a real frame that has neither, its overscan only."""
    path = DATA / "misc" / "saao_ste3_raw_overscan_a8280271.fits.gz"
    if not path.is_file():
        return [Row("saao_ste3 raw: overscan", "-", f"no frame in {DATA}", None)]
    with tempfile.TemporaryDirectory() as place:
        told = apply(path, "saao_ste3", None, Path(place) / "c.fits")
        with fits.open(Path(place) / "c.fits") as units:
            scatter, n = flatness(units["SCI"].data.astype(np.float32), units["MASK"].data != 0)
    level, noise = told["figures"]["overscan_adu"]["1"], told["figures"]["overscan_noise_electrons"]["1"]
    said, near = f"{noise:.2f} electrons, level {level:.1f} adu", abs(noise / 5 - 1) <= 0.1
    return [
        Row("saao_ste3 raw: read noise from its overscan", "5.0 +- 10 %", said, near),
        Row("saao_ste3 raw: sky, without any master", "<= 1 %", f"{scatter:.2%}, {n} cells", scatter <= 0.01),
    ]


def _trails() -> list[Row]:
    found, false = 0, 0
    n = 12
    with start_threads() as threads:
        for seed in range(n):
            data, light = simulated_trail(900, seed, 1.0)
            false += len(_seen(data, threads))
            found += len(_seen(data + light, threads)) == 1
        folders = (("saao_kb13475_june/light", 3), ("eaba_eso085_null_pair", 1), ("hatp32_microobservatory/light", 12))
        real = [path for name, every in folders for path in sorted((DATA / name).glob("*.fz"))[::every]]
        real += (DATA / "wcs_images").glob("panoptes*.fz")
        wrong = [path.name for path in real if mark_blemishes(read_frame(path).image, threads).trails]
        trailed = DATA / "wcs_images" / "lco_banzai_trailed_frame.fits.fz"
        odd = mark_blemishes(read_frame(trailed).image, threads) if trailed.is_file() else None
    rows_ = [
        Row("trails of 1 sigma a pixel in crowded fields, found", f">= {n - 1} of {n}", f"{found} of {n}", found >= n - 1),
        Row("false trails in those fields without them", "0", f"{false} on {n}", false == 0),
        Row(
            "false trails on real frames without any",
            "0",
            f"{len(wrong)} on {len(real)} {wrong or ''}",
            not wrong if real else None,
        ),
    ]
    if odd is not None:
        said = f"{len(odd.trails)} trails, elongation {odd.elongation:.1f}, trailed: {odd.trailed}"
        rows_.append(Row("the frame of trailed stars", "no trail, trailed", said, not odd.trails and odd.trailed))
    return rows_


def simulated_trail(side: int, seed: int, peak: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A field of 1,000 stars a megapixel in sky of 20 sigma, and the light of a trail over at least half of it."""
    rng = np.random.default_rng(seed)
    sigma, width = 20.0, 1.5
    data = (400 + sigma * rng.standard_normal((side, side))).astype(np.float32)
    y, x = np.mgrid[-9:10, -9:10]
    for _ in range(side * side // 1000):
        a, b, flux = rng.uniform(10, side - 10), rng.uniform(10, side - 10), 10 ** rng.uniform(2.7, 5.3)
        i, j = int(a), int(b)
        shape = np.exp(-((x + i - a) ** 2 + (y + j - b) ** 2) / 2 / width**2)
        data[j - 9 : j + 10, i - 9 : i + 10] += (flux / (2 * np.pi * width**2) * shape).astype(np.float32)
    angle, (a, b), length = rng.uniform(0, np.pi), rng.uniform(0.3, 0.7, 2) * side, rng.uniform(0.5, 1.4) * side
    y, x = np.mgrid[:side, :side]
    along, across = (x - a) * np.cos(angle) + (y - b) * np.sin(angle), (y - b) * np.cos(angle) - (x - a) * np.sin(angle)
    light = np.where(np.abs(along) < length / 2, peak * sigma * np.exp(-(across**2) / 2 / width**2), 0)
    return data, light.astype(np.float32)


def _seen(data: NDArray[np.float32], threads: Any) -> tuple[Any, ...]:
    image = Image(data, np.full(data.shape, 400, np.float32), np.zeros(data.shape, np.uint16), "electron", 1.0, 0.0, 1e9)
    return mark_blemishes(image, threads).trails


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What calibration is worth.")
    parser.add_argument("--side", type=int, default=10560)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        frame, masters, sample, side = arguments.child
        _child(Path(frame), Path(masters), Path(sample), int(side))
    else:
        print(show(rows(arguments.side)))


if __name__ == "__main__":
    main()
