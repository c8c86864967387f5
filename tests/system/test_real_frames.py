"""Real frames of a crowded field through a running ast3d: the microlensing event is found and its light curve is right."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

VARIABLE = 257.1, 249.7  # in the template, AKB13475I0028
KNOWN_FLUX = 3000.0  # 6 sigma of the listed difference flux
RADIUS_PIXELS = 1.5
HIT = "AKB13475I0006.fits.fz"  # a cosmic ray four pixels from the variable is in its listed flux; here it is masked


@pytest.fixture(scope="module")
def campaign(data):
    """The frames but the template, in order, each with its listed difference flux; and the template."""
    folder = data / "saao_kb13475_june"
    frames = sorted((folder / "light").iterdir())
    listed = np.loadtxt(folder / "lc_sanity.txt")[:, 1]
    (template,) = [frame for frame in frames if "0028" in frame.name]
    return [(frame, flux) for frame, flux in zip(frames, listed, strict=True) if frame != template], template


@pytest.mark.timeout(900)
def test_the_variable_is_found_whenever_it_is_bright_and_its_light_curve_is_the_listed_one(node, campaign):
    pairs, template = campaign
    one = node("pool: {settle_seconds: 0.3}")
    folder = one.root / "templates" / "ast3-1"
    folder.mkdir(parents=True)
    (folder / "template.fits.fz").write_bytes(template.read_bytes())
    for frame, _ in pairs:
        (one.pool / frame.name).write_bytes(frame.read_bytes())
    one.wait(lambda: len(one.archived()) == len(pairs) or one.discarded(), "all archived", seconds=600)
    assert one.discarded() == []
    products = {json.loads(path.read_text())["name"]: path.parent for path in one.published()}
    bright = [(frame.name, flux) for frame, flux in pairs if abs(flux) > KNOWN_FLUX and frame.name != HIT]
    assert len(bright) == 8
    missed = [(name, flux) for name, flux in bright if not found(products[name], flux)]
    assert missed == []
    curve = forced([products[frame.name] for frame, _ in pairs])
    listed = np.array([flux for _, flux in pairs])
    unhit = np.array([frame.name != HIT for frame, _ in pairs])
    assert np.isfinite(curve[unhit]).all()
    assert np.corrcoef(curve[unhit], listed[unhit])[0, 1] > 0.95


def found(products: Path, flux: float) -> bool:
    """Whether the variable is among the transients, with the right sign."""
    rows = Table.read(products / "transients.ecsv")
    near = np.hypot(rows["x_tmpl"] - VARIABLE[0], rows["y_tmpl"] - VARIABLE[1]) < RADIUS_PIXELS
    return bool(np.any(near & (np.sign(rows["flux"]) == np.sign(flux))))


def forced(products: list[Path]) -> np.ndarray:
    """Forced photometry at the variable's place, on the template's scale, in the order of the products."""
    argv = [Path(sys.executable).parent / "ast3-photometry", "lightcurve", *products, "--at", *map(str, VARIABLE), "--json"]
    epochs = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True, timeout=300).stdout)["epochs"]
    flux = {epoch["frame"]: epoch["flux_tmpl"] for epoch in epochs}
    return np.array([flux[json.loads((folder / "manifest.json").read_text())["name"]] for folder in products], float)
