"""Sources: all of them, once each, with honest errors, and no frame that is given up."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from photometry import detection
from photometry.background import subtract_background
from photometry.detection import FLAG_COARSE, FLAG_MASKED, FLAG_SATURATED, detect, flag_masked
from photometry.errors import EnvironmentFailedError
from photometry.mask import Bit
from photometry.settings import Settings

SETTINGS = Settings()


def found(sky, settings=SETTINGS):
    image, _ = subtract_background(sky.image(), settings)
    return detect(image, settings)


def match(sky, stars, radius=1.0):
    """(rows of stars, indices of the truth) that belong together"""
    distance, index = cKDTree(np.column_stack([sky.x, sky.y])).query(np.column_stack([stars["x"], stars["y"]]))
    near = distance < radius
    return stars[near], index[near]


def test_every_star_once_and_nothing_else(make_sky):
    sky = make_sky(shape=(600, 700), stars=150, apart=25, flux=(3.3, 5.0))
    stars = found(sky)
    rows, truth = match(sky, stars)
    assert len(np.unique(truth)) == 150
    assert len(stars) == 150
    assert np.median(np.hypot(rows["x"] - sky.x[truth], rows["y"] - sky.y[truth])) < 0.05
    assert np.median(rows["fwhm"]) == pytest.approx(3.5, rel=0.1)
    assert (np.diff(stars["flux"]) <= 0).all()


def test_fluxes_and_their_errors(make_sky):
    sky = make_sky(shape=(900, 900), stars=300, apart=30, flux=(3.3, 4.5))
    rows, truth = match(sky, found(sky))
    inside = 1 - np.exp(-0.5 * (8 / (3.5 / 2.3548)) ** 2)
    pulls = (rows["flux_aper3"] - inside * sky.flux[truth]) / rows["flux_aper3_err"]
    assert abs(np.median(pulls)) < 0.3
    assert np.percentile(pulls, 84) - np.percentile(pulls, 16) == pytest.approx(2.0, rel=0.2)
    # 2.5 Kron radii hold nearly all of a star
    assert np.median(rows["flux"] / sky.flux[truth]) == pytest.approx(0.97, abs=0.04)


def test_borders_of_tiles_neither_hide_nor_double(make_sky, monkeypatch):
    sky = make_sky(shape=(600, 600), stars=250, apart=12, flux=(3.6, 5))
    whole = found(sky)
    monkeypatch.setattr(detection, "TILE_PIXELS", 150)
    tiled = found(sky)
    distance, _ = cKDTree(np.column_stack([whole["x"], whole["y"]])).query(np.column_stack([tiled["x"], tiled["y"]]))
    assert len(tiled) == len(whole)
    assert distance.max() < 0.2


def test_an_extractor_that_gives_up_costs_depth_not_the_frame(make_sky, monkeypatch):
    sky = make_sky(stars=30, apart=20, flux=(4.2, 5))
    real = detection.sep.extract

    def stubborn(data, thresh, **options):
        if thresh < 15 or options["deblend_cont"] < 1:
            raise Exception("internal pixel buffer full")  # noqa: TRY002  as sep does
        return real(data, thresh, **options)

    monkeypatch.setattr(detection.sep, "extract", stubborn)
    stars = found(sky)
    assert len(match(sky, stars)[0]) >= 25
    assert (stars["flags"] & FLAG_COARSE).all()

    def hopeless(*_args, **_options):
        raise Exception("internal pixel buffer full")  # noqa: TRY002  as sep does

    monkeypatch.setattr(detection.sep, "extract", hopeless)
    assert len(found(sky)) == 0


@pytest.mark.parametrize(("fault", "told"), [(MemoryError(), EnvironmentFailedError), (TypeError("a bug"), TypeError)])
def test_only_what_sep_gives_up_on_is_taken_for_a_crowd(make_sky, monkeypatch, fault, told):
    def broken(*_args, **_options):
        raise fault

    sky = make_sky(stars=5)
    monkeypatch.setattr(detection.sep, "extract", broken)
    with pytest.raises(told):
        found(sky)


def test_sep_really_gives_up_on_a_crowd_and_the_ladder_holds():
    """A checkerboard of 120,000 peaks on one plateau: more sub-objects than sep allows."""
    data = np.zeros((700, 700), np.float32)
    data[::2, ::2] = 1000.0
    data += 500.0
    from photometry.image import Image

    image = Image(data, np.full(data.shape, 4.0, np.float32), np.zeros(data.shape, np.uint16), "adu", 1.0, 1.0, 65000.0)
    detect(image, SETTINGS)


def test_flags_of_saturated_and_masked_stars(make_sky):
    sky = make_sky(stars=40, apart=25, flux=(4.2, 5))
    image, _ = subtract_background(sky.image(), SETTINGS)
    place = [(round(y), round(x)) for x, y in zip(sky.x, sky.y, strict=True)]
    image.mask[place[0]] |= np.uint16(Bit.SATURATED)
    image.mask[place[1]] |= np.uint16(Bit.BAD)
    stars = detect(image, SETTINGS)
    near = {i: stars[np.hypot(stars["x"] - sky.x[i], stars["y"] - sky.y[i]) < 2.5] for i in range(3)}
    assert (near[0]["flags"] & FLAG_SATURATED).any()
    assert (near[1]["flags"] & FLAG_MASKED).any()
    assert not (near[2]["flags"] & (FLAG_MASKED | FLAG_SATURATED)).any()
    image.mask[place[2]] |= np.uint16(Bit.COSMIC_RAY)
    flag_masked(image.mask, stars)
    assert (stars[np.hypot(stars["x"] - sky.x[2], stars["y"] - sky.y[2]) < 2.5]["flags"] & FLAG_MASKED).any()


def test_no_stars_and_tiny_frames(make_sky):
    stars = found(make_sky(stars=0))
    assert len(stars) == 0
    assert {"x", "y", "flux", "flux_aper1_err", "flags"} <= set(stars.dtype.names)
    assert len(found(make_sky(shape=(24, 30), stars=1, flux=(4, 4.1)))) == 1


def test_apertures_are_those_of_the_settings(make_sky):
    settings = Settings(aperture_radii_pixels=(2.0,))
    stars = found(make_sky(), settings)
    assert "flux_aper1" in stars.dtype.names
    assert "flux_aper2" not in stars.dtype.names


def test_structure_larger_than_stars_does_not_tie_them_together(make_sky):
    sky = make_sky(shape=(512, 512), stars=80, apart=20, flux=(4, 5))
    y, x = np.mgrid[:512, :512]
    ring = 300 * np.exp(-0.5 * ((np.hypot(x - 256, y - 256) - 150) / 25) ** 2)
    image, _ = subtract_background(replace(sky.image(), data=(sky.data + ring).astype(np.float32)), SETTINGS)
    _, truth = match(sky, detect(image, SETTINGS))
    assert len(np.unique(truth)) >= 70
