"""A real night of a real camera: bias and twilight flats to masters, and a light calibrated by them."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from bench.measure_calibration import flatness
from photometry.calibration.commands import apply, build


@pytest.fixture(scope="module")
def lowell(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict]:
    folder = data / "lowell42_5945"
    out = tmp_path_factory.mktemp("masters")
    frames = sorted([*(folder / "bias").glob("*.fz"), *(folder / "flat_VR").glob("*.fz")])
    return folder, out, build(frames, "lowell42", out, dark_from_science=False)


def test_all_frames_of_a_good_night_are_used(lowell):
    _, _, told = lowell
    assert told["refused"] == {}
    assert told["figures"]["bias frames"] == 10
    assert told["figures"]["flat.VR frames"] == 7


def test_the_sky_is_flat_to_a_percent_and_the_satellite_is_masked(lowell, tmp_path):
    folder, masters, _ = lowell
    told = apply(folder / "light" / "20190326.0130.fits.fz", "lowell42", masters, tmp_path / "c.fits")
    with fits.open(tmp_path / "c.fits", checksum=True) as units:
        data, mask = units["SCI"].data.astype(np.float32), units["MASK"].data
    with fits.open(masters / "flat.VR.fits") as units:
        vignetted = units["VALUE"].data < 0.9
    scatter, cells = flatness(data, (mask != 0) | vignetted)
    assert cells > 100
    assert scatter < 0.01
    (trail,) = told["figures"]["trails"]
    x0, y0, x1, y1 = trail["ends"]
    assert (y1 - y0) / (x1 - x0) == pytest.approx(0.187, abs=0.01)
    assert not told["figures"]["stars_trailed"]
