"""A raw frame is what its truth says, to those who know only its files."""

import json

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from photometry.errors import BadInputError
from photometry.times import exposure_of
from skysim.calibrations import calibration
from skysim.cli import main
from skysim.detector.pattern import bias_of, dark, flat
from skysim.raw import DARK, FLAT, detect, expose
from skysim.settings import FrameSettings
from skysim.sphere.stars import stars_around
from tests.skysim.cameras import small_chip, write_camera

AT = FrameSettings(ra_deg=120.0, dec_deg=-70.0, rotation_degrees=15.0, seed=3)


def calibrated(chip, raw, seconds, camera=1):
    """What a perfect calibration makes of a raw frame without crosstalk: electrons on the chip."""
    bias, image = bias_of(chip, camera), np.empty(chip.shape)
    for i, port in enumerate(chip.ports):
        upper, right = port.corner.startswith("upper"), port.corner.endswith("right")
        fixed = bias.ramp[i][:, None] + bias.columns[i][None, :]
        level = raw[port.overscan].astype(float).mean(axis=1)[:, None]
        image[port.chip] = raw[port.data] - level - fixed[:: -1 if upper else 1, :: -1 if right else 1]
        image[port.chip] *= port.gain
    return (image - seconds * dark(chip.shape, camera)) / flat(chip.shape, camera)


def centroid(image, x, y, half=5):
    ix, iy = round(x), round(y)
    part = image[iy - half : iy + half + 1, ix - half : ix + half + 1]
    v, u = np.mgrid[-half : half + 1, -half : half + 1]
    near = np.exp(-0.5 * ((u - x + ix) ** 2 + (v - y + iy) ** 2) / 2.0**2)  # a window, for neighbours are about
    weight = part * near
    return ix + (weight * u).sum() / weight.sum(), iy + (weight * v).sum() / weight.sum()


def isolated(sources, shape, brighter, room=14):
    """Indices of stars with nobody as bright as a hundredth of them near."""
    ny, nx = shape
    order = [int(i) for i in np.argsort(-sources.electrons) if sources.electrons[i] > brighter and not sources.saturated[i]]
    chosen = []
    for i in order:
        x, y = sources.x[i], sources.y[i]
        near = np.hypot(sources.x - x, sources.y - y) < room
        near[i] = False
        alone = not (sources.electrons[near] > 0.01 * sources.electrons[i]).any()
        if alone and room < x < nx - room and room < y < ny - room:
            chosen.append(i)
    return chosen


def around(image, x, y):
    """The sky beside a star."""
    part = image[round(y) - 14 : round(y) + 15, round(x) - 14 : round(x) + 15]
    v, u = np.mgrid[-14:15, -14:15]
    return np.median(part[np.hypot(u, v) > 11])


@pytest.fixture(scope="module")
def chip(tmp_path_factory):
    return small_chip(tmp_path_factory.mktemp("camera"))


@pytest.fixture(scope="module")
def frame(chip):
    return expose(chip, AT)


def write(folder, *words):
    assert main(["frame", str(folder), "--instrument", str(write_camera(folder.parent / "small.yaml")), *words]) == 0


@pytest.mark.parametrize(("ra", "dec"), [(120.0, -70.0), (0.0, -89.5), (0.02, -35.0), (359.99, 10.0), (77.0, -90.0)])
def test_the_wcs_of_the_files_places_every_star_where_the_sources_are(tmp_path, ra, dec):
    write(tmp_path / "out", "--ra", str(ra), "--dec", str(dec), "--rotation", "30", "--distortion", "3")
    stars = Table.read(tmp_path / "out" / "sources.ecsv")
    assert len(stars) > 300
    x, y = WCS(fits.getheader(tmp_path / "out" / "truth.wcs")).all_world2pix(stars["ra"], stars["dec"], 0, tolerance=1e-6)
    assert np.abs(x - stars["x"]).max() < 1e-3
    assert np.abs(y - stars["y"]).max() < 1e-3
    assert min(stars["x"].min(), stars["y"].min()) >= -0.5
    assert max(stars["x"].max(), stars["y"].max()) < 659.5


def test_stars_are_on_the_frame_where_the_sources_are_with_their_electrons(frame, chip):
    image = calibrated(chip, frame.raw, AT.seconds) - frame.sky_electrons
    chosen = isolated(frame.sources, chip.shape, 2e4)[:12]
    assert len(chosen) >= 6
    for i in chosen:
        x, y, electrons = frame.sources.x[i], frame.sources.y[i], frame.sources.electrons[i]
        assert centroid(image, x, y) == pytest.approx((x, y), abs=0.05)
        near = image[round(y) - 10 : round(y) + 11, round(x) - 10 : round(x) + 11]
        sigma = np.sqrt(electrons + near.size * (frame.sky_electrons + 64))
        assert near.sum() - near.size * around(image, x, y) == pytest.approx(electrons, abs=4 * sigma + 0.02 * electrons)


def test_blank_sky_has_the_variance_of_its_electrons_and_its_read_noise(frame, chip):
    image = calibrated(chip, frame.raw, AT.seconds)
    sample = image[:, 1:] - image[:, :-1]
    sigma = 1.4826 * np.median(np.abs(sample - np.median(sample))) / np.sqrt(2)
    sky = np.median(image)
    assert sky == pytest.approx(frame.sky_electrons, rel=0.03)
    assert sigma == pytest.approx(np.sqrt(sky + chip.read_noise[0] ** 2), rel=0.05)


def test_same_call_same_bytes_another_number_another_frame_of_the_same_sky(tmp_path):
    for name, words in (("a", ()), ("b", ()), ("c", ("--number", "3"))):
        write(tmp_path / name, "--ra", "10", "--dec", "-60", *words)
    for name in ("frame.fits", "sources.ecsv", "catalog.fits", "truth.json", "truth.wcs"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "catalog.fits").read_bytes() == (tmp_path / "c" / "catalog.fits").read_bytes()
    a, c = (json.loads((tmp_path / name / "truth.json").read_text()) for name in "ac")
    off = np.hypot(*(np.array(c["projection"][key]) - a["projection"][key] for key in ("dec_deg", "ra_deg"))) * 3600
    assert 0.5 < off < 30
    assert (c["mjd_start"] - a["mjd_start"]) * 86_400 == pytest.approx(3 * 65, abs=0.01)
    assert fits.getdata(tmp_path / "a" / "frame.fits").std() > 0


def test_header_tells_what_the_instruments_rules_ask_for(tmp_path):
    write(tmp_path / "out", "--ra", "150.5", "--dec", "-0.25", "--seconds", "30", "--filter", "r", "--preview")
    header = fits.getheader(tmp_path / "out" / "frame.fits")
    truth = json.loads((tmp_path / "out" / "truth.json").read_text())
    assert (header["INSTRUME"], header["FILTER"], header["IMAGETYP"]) == ("SMALL", "r", "object")
    assert (header["RA"], header["DEC"]) == ("10:02:00.000", "-00:15:00.00")
    assert exposure_of(header).mid_mjd == pytest.approx(truth["mjd_mid"], abs=1e-7)
    assert (header["NAXIS1"], header["NAXIS2"], header["BITPIX"], header["BZERO"]) == (700, 660, 16, 32768)
    assert "CRVAL1" not in header  # a raw frame has no astrometry
    assert (tmp_path / "out" / "preview.png").stat().st_size > 10_000


def test_catalog_is_of_the_field_and_reaches_beyond_it(tmp_path):
    write(tmp_path / "out", "--ra", "0.0", "--dec", "-89.5")
    table = Table.read(tmp_path / "out" / "catalog.fits")
    x, y = WCS(fits.getheader(tmp_path / "out" / "truth.wcs")).all_world2pix(table["ra"], table["dec"], 0, quiet=True)
    on = (x > 0) & (x < 659) & (y > 0) & (y < 659)
    assert 5 < on.sum() < 0.1 * len(table)


def test_stars_have_moved_since_the_catalogs_epoch(frame):
    there = stars_around(AT.seed, frame.projection.ra_deg, frame.projection.dec_deg, 0.08)  # all on the chip
    fastest = np.argsort(-np.hypot(there.pmra, there.pmdec))[:20]
    moved = there.places_at(2000 + (61_212 - 51_544.0) / 365.25)  # 2026-06-21
    narrow = np.cos(np.radians(AT.dec_deg))
    for i in fastest:
        off = np.hypot((frame.sources.ra - moved[0][i]) * narrow, frame.sources.dec - moved[1][i]).min()
        assert off * 3600 < 0.01


def test_cloud_dims_the_stars_and_not_the_sky(chip, frame):
    dim = expose(chip, FrameSettings(**{**vars(AT), "cloud_mag": 1.0, "patchy_mag": 0.3}))
    assert dim.sources.mag == pytest.approx(frame.sources.mag)
    loss = -2.5 * np.log10(dim.sources.electrons / frame.sources.electrons)
    assert loss.mean() == pytest.approx(1.0, abs=0.3)
    assert 0.1 < loss.std() < 0.6
    assert np.median(dim.raw) == pytest.approx(np.median(frame.raw), abs=5)


def test_twilight_is_bright_with_a_gradient(chip):
    bright = expose(chip, FrameSettings(120.0, -70.0, sky_mag=16.0, sky_gradient=0.3, seconds=10.0))
    image = calibrated(chip, bright.raw, 10.0)
    assert np.median(image) == pytest.approx(bright.sky_electrons, rel=0.02)
    corners = [np.median(part) for part in (image[:50, :50], image[:50, -50:], image[-50:, :50], image[-50:, -50:])]
    assert 0.25 < (max(corners) - min(corners)) / bright.sky_electrons < 0.45


@pytest.mark.parametrize(
    ("how", "longest"), [({"trail_pixels": 12.0}, 12 / np.sqrt(12)), ({"defocus_pixels": 14.0}, 14 / 4)]
)
def test_trailed_and_unfocused_stars_keep_their_light_and_place(chip, how, longest):
    blurred = expose(chip, FrameSettings(**{**vars(AT), **how}))
    image = calibrated(chip, blurred.raw, AT.seconds) - blurred.sky_electrons
    best = isolated(blurred.sources, chip.shape, 2e4, room=20)[0]
    x, y, electrons = (getattr(blurred.sources, name)[best] for name in ("x", "y", "electrons"))
    ix, iy = round(x), round(y)
    part = image[iy - 13 : iy + 14, ix - 13 : ix + 14]
    assert part.sum() == pytest.approx(electrons, rel=0.06)
    v, u = np.mgrid[-13:14, -13:14]
    mean = (part * u).sum() / part.sum() + ix, (part * v).sum() / part.sum() + iy
    assert mean == pytest.approx((x, y), abs=0.4)
    du, dv = u + ix - mean[0], v + iy - mean[1]
    moments = np.array([[(part * a * b).sum() for a in (du, dv)] for b in (du, dv)]) / part.sum()
    assert np.sqrt(np.linalg.eigvalsh(moments)[1]) == pytest.approx(np.hypot(longest, 2.0), rel=0.35)


def test_satellites_cross_the_frame(chip, frame):
    crossed = expose(chip, FrameSettings(**{**vars(AT), "satellites": 2}))
    difference = calibrated(chip, crossed.raw, AT.seconds) - calibrated(chip, frame.raw, AT.seconds)
    for trail in crossed.satellites:
        c, s = np.cos(trail.angle), np.sin(trail.angle)
        y, x = np.indices(chip.shape)
        across = np.abs((x - trail.x) * s - (y - trail.y) * c)
        length = (across < 0.5).sum()
        assert difference[across < 6].sum() / length == pytest.approx(trail.electrons_per_pixel, rel=0.2)


def test_a_bright_star_draws_a_streak_along_its_column_and_half(tmp_path):
    chip = small_chip(tmp_path, side=(60, 50), row_seconds=1e-3)
    light = np.zeros(chip.shape, np.float32)
    light[20, 10] = 1e6
    detect(light, chip, 10.0, 1, 1, (0, 0), np.full(4, 1e9))
    streak = np.median(light, axis=0)
    assert np.median(light[:60, 10]) == pytest.approx(100, abs=10)
    assert np.median(light[60:, 10]) < 5
    assert np.delete(streak, 10).max() < 5


def test_calibration_frames_share_the_fixed_patterns_and_not_the_noise(chip):
    darks = [calibration(chip, 1, DARK, number, 100.0) for number in range(2)]
    assert (darks[0] != darks[1]).any()
    hot = dark(chip.shape, 1) > 20
    shown = np.zeros(chip.shape)
    for port in chip.ports:
        shown[port.chip] = darks[0][port.data].astype(float) - np.median(darks[0][port.overscan])
    assert shown[hot] * 1.6 == pytest.approx(100 * dark(chip.shape, 1)[hot], rel=0.2)
    twilight = calibrated(chip, calibration(chip, 1, FLAT, 0, 5.0), 5.0)
    level = np.median(twilight)
    assert 2e4 < level < 7e4
    assert twilight.std() / level == pytest.approx(
        np.sqrt(1 / level + 0.015**2 / 12), rel=0.4
    )  # nothing of the pattern is left
    other = calibrated(chip, calibration(chip, 2, FLAT, 0, 5.0), 5.0)  # of another camera
    assert other.std() / np.median(other) > 0.009


def test_calibrations_are_named_and_typed(tmp_path, capsys):
    camera = write_camera(tmp_path / "small.yaml", side=(40, 40))
    words = ["--instrument", str(camera), "--biases", "2", "--darks", "1", "--flats", "1"]
    assert main(["calibrations", str(tmp_path / "out"), *words]) == 0
    assert "4 frames" in capsys.readouterr().out
    kinds = {path.name: fits.getheader(path) for path in (tmp_path / "out").iterdir()}
    assert {name: header["IMAGETYP"] for name, header in kinds.items()} == {
        "bias-0001.fits": "bias", "bias-0002.fits": "bias", "dark-0001.fits": "dark", "flat-0001.fits": "flat",
    }  # fmt: skip
    assert kinds["dark-0001.fits"]["EXPTIME"] == 60
    assert kinds["flat-0001.fits"]["FILTER"] == "i"
    times = [exposure_of(kinds[name]).start_mjd for name in sorted(kinds)]
    assert times == sorted(set(times))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dec", "95"], "dec_deg is 95; allowed is -90 to 90"),
        (["--filter", "z"], "no filter 'z'"),
        (["--instrument", "nobody"], "no such instrument"),
        (["--cloud", "-1"], "cloud_mag is -1"),
    ],
)
def test_a_wrong_call_is_one_line_and_status_two(tmp_path, capsys, words, said):
    camera = ["--instrument", str(write_camera(tmp_path / "small.yaml"))]
    assert main(["frame", str(tmp_path / "out"), "--ra", "1", "--dec", "2", *camera, *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_filter_is_refused_by_the_function_too(chip):
    with pytest.raises(BadInputError, match="small has g, r, i"):
        expose(chip, FrameSettings(1.0, 2.0, filter="K"))
