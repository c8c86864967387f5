"""The demo's pictures are drawn from products alone."""

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from skysim.lightcurve import curve
from skysim.pictures import STAMPS, draw_pictures, read_stamps
from skysim.report import FrameResult, Listed
from skysim.truth import FrameTruth, TargetTruth

pytest.importorskip("matplotlib", reason="pictures need the demo extra")


@pytest.fixture
def night(tmp_path):
    """Two frames; the supernova is listed in the second, with stamps and a preview."""
    folder = tmp_path / "frame"
    (folder / "stamps").mkdir(parents=True)
    rng = np.random.default_rng(1)
    planes = {name: rng.normal(size=(63, 63)).astype(np.float32) for name in STAMPS}
    hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(plane, name=name) for name, plane in planes.items())]
    fits.HDUList(hdus).writeto(folder / "stamps" / "0003.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((80, 100), np.float32), name="DIFF")]).writeto(
        folder / "difference.fits"
    )
    Image.new("RGB", (50, 40)).save(folder / "preview.png")
    results = []
    for i, flux in enumerate((0.0, 900.0)):
        truth = FrameTruth(
            f"f{i}.fits", 61212.0 + i / 48, 3.5, 0.9, 400.0, 0, 0, 0,
            {"supernova": TargetTruth(50, 40, 51, 41, flux, flux / 30)},
        )  # fmt: skip
        listed = (Listed(3, 50.2, 40.1, 51.2, 41.1, 880.0, 30.0, 29.0), Listed(4, 9, 9, 9, 9, 200.0, 30.0, 6.6))
        results.append(FrameResult(truth, folder, 7, 3.0, listed[: 2 * i]))
    return tmp_path, results, planes


def test_three_pictures_small_enough_for_a_readme(night):
    folder, results, _ = night
    pictures = draw_pictures(folder, results[1], curve(results, {"f0.fits": (10.0, 30.0), "f1.fits": (890.0, 30.0)}))
    assert [path.name for path in pictures] == ["supernova_triplet.png", "supernova_lightcurve.png", "night.png"]
    for path in pictures:
        with Image.open(path) as picture:
            assert min(picture.size) >= 300
        assert path.stat().st_size < 400_000


def test_stamps_are_those_of_the_supernovas_row(night):
    _, results, planes = night
    stamps = read_stamps(results[1])
    assert all((stamps[name] == planes[name]).all() for name in STAMPS)
