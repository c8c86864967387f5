"""A night's frames are what their headers and their truth say."""

import dataclasses
import hashlib
from datetime import datetime

import numpy as np
import pytest
import sep
from astropy.io import fits
from astropy.wcs import WCS

from skysim.night import expose, frame_name, light, plan, template
from skysim.settings import NightSettings
from skysim.sky import Points, Sky

SETTINGS = NightSettings(frames=6, size_pixels=512, seed=3)


@pytest.fixture(scope="module")
def night():
    return plan(SETTINGS)


@pytest.fixture(scope="module")
def made(night, tmp_path_factory):
    folder = tmp_path_factory.mktemp("night")
    template(night, folder / "template.fits")
    return folder, [expose(night, i, folder) for i in range(SETTINGS.frames)]


def test_same_seed_same_bytes_another_seed_another_night(made, tmp_path):
    folder, truths = made
    assert expose(plan(SETTINGS), 2, tmp_path) == truths[2]
    one, two = ((place / frame_name(2)).read_bytes() for place in (folder, tmp_path))
    assert hashlib.sha256(one).digest() == hashlib.sha256(two).digest()
    other = expose(plan(NightSettings(frames=6, size_pixels=512, seed=4)), 2, tmp_path)
    assert other.targets != truths[2].targets


def test_frames_arrive_whole_and_nothing_is_left_beside_them(made):
    folder, _ = made
    assert sorted(path.name for path in folder.iterdir()) == [
        *(frame_name(i) for i in range(SETTINGS.frames)),
        "template.fits",
    ]


def test_frame_is_sixteen_bit_with_an_honest_header(made, night):
    folder, _ = made
    with fits.open(folder / frame_name(1), checksum=True, do_not_scale_image_data=True) as hdus:
        header = hdus[0].header
        assert hdus[0].data.dtype == np.dtype(">i2")
    assert (header["BITPIX"], header["BZERO"]) == (16, 32768)
    assert (header["GAIN"], header["RDNOISE"]) == (night.camera.gain, night.camera.read_noise)
    assert (header["BUNIT"], header["EXPTIME"], header["FILTER"]) == ("adu", 60.0, "i")
    begins = datetime.fromisoformat(header["DATE-OBS"] + "+00:00")
    assert header["MJD-OBS"] == pytest.approx(begins.timestamp() / 86400 + 40587, abs=1e-8)


def test_every_pixel_has_the_noise_that_the_header_promises(made, night):
    folder, _ = made
    for i in (0, 4):
        with fits.open(folder / frame_name(i)) as hdus:
            data, header = hdus[0].data.astype(np.float64), hdus[0].header
        expected = light(night.sky, night.exposures[i], night.camera.shape) / header["GAIN"]
        pull = (data - expected) / np.sqrt(expected / header["GAIN"] + (header["RDNOISE"] / header["GAIN"]) ** 2)
        blank = expected < 1.05 * np.median(expected)
        usable = np.abs(pull) < 5  # neither cosmic rays, targets nor bad columns
        assert (blank & usable).sum() > 0.5 * data.size
        assert pull[blank & usable].var() == pytest.approx(1, rel=0.02)
        assert pull[~blank & usable].var() == pytest.approx(1, rel=0.05)
        assert pull[blank & usable].mean() == pytest.approx(0, abs=0.01)


def test_the_templates_noise_is_what_its_header_promises(sparse, tmp_path):
    template(sparse, tmp_path / "template.fits")
    with fits.open(tmp_path / "template.fits") as hdus:
        data, header = hdus[0].data.astype(np.float64), hdus[0].header
    expected = sparse.template_light / sparse.camera.gain
    gain, read_noise = header["GAIN"], header["RDNOISE"]
    pull = (data - expected) / np.sqrt(expected / gain + (read_noise / gain) ** 2)
    assert pull[np.abs(pull) < 5].var() == pytest.approx(1, rel=0.02)


def test_template_is_deeper_and_holds_no_supernova(made, night):
    folder, truths = made
    header = fits.getheader(folder / "template.fits")
    assert header["GAIN"] == night.camera.gain * header["NCOMBINE"]
    data = fits.getdata(folder / "template.fits").astype(np.float64)
    supernova = truths[-1].targets["supernova"]
    expected = night.template_light / night.camera.gain
    x, y = round(supernova.x_tmpl), round(supernova.y_tmpl)
    around = np.s_[y - 5 : y + 6, x - 5 : x + 6]
    noise = np.sqrt(expected[around].sum() / header["GAIN"])
    assert abs((data[around] - expected[around]).sum()) < 5 * noise


@pytest.fixture(scope="module")
def sparse(night):
    """The same night under a sky of nine stars, far from each other."""
    x, y = (a.ravel().astype(float) + 0.37 for a in np.meshgrid([90, 250, 420], [80, 330, 440]))
    sky = Sky(Points(x, y, np.geomspace(1_000, 12_000, x.size)), night.sky.targets)
    camera = dataclasses.replace(night.camera, bad_columns=(), cosmic_rays_per_megapixel=0.0)
    return dataclasses.replace(night, sky=sky, camera=camera, template_light=light(sky, night.template, camera.shape))


@pytest.mark.parametrize("index", [0, 3])
def test_stars_have_their_flux_and_their_place(sparse, tmp_path, index):
    expose(sparse, index, tmp_path)
    data = fits.getdata(tmp_path / frame_name(index)).astype(np.float64)
    exposure, shape = sparse.exposures[index], sparse.camera.shape
    data -= sep.Background(data, bw=128, bh=128).back()
    x, y = exposure.pointing.to_frame(sparse.sky.fixed.x, sparse.sky.fixed.y, shape)
    adu = sparse.sky.fixed.rate * exposure.seconds * exposure.transparency / sparse.camera.gain
    flux = sep.sum_circle(data, x, y, 18.0, bkgann=(28.0, 36.0))[0]
    assert flux / adu == pytest.approx(1, rel=0.01 + 3 * 600 / adu.min())  # noise of the aperture: 600 adu
    assert np.average(flux / adu, weights=adu) == pytest.approx(1, rel=0.01)
    x_found, y_found, _ = sep.winpos(data, x + 0.3, y - 0.3, exposure.psf.fwhm_pixels / 2.355)
    assert np.hypot(x_found - x, y_found - y).max() < 0.03
    assert np.abs([np.mean(x_found - x), np.mean(y_found - y)]).max() < 0.01


@pytest.mark.parametrize("name", ["supernova", "variable", "mover"])
def test_a_targets_flux_is_in_the_frame(sparse, tmp_path, name):
    truth = expose(sparse, 5, tmp_path)
    template(sparse, tmp_path / "template.fits")
    target = truth.targets[name]
    data = fits.getdata(tmp_path / truth.name).astype(np.float64)
    base = fits.getdata(tmp_path / "template.fits").astype(np.float64)
    (science,), (error,), _ = sep.sum_circle(data, [target.x], [target.y], 8.0, bkgann=(15.0, 25.0), var=data / 1.5)
    (before,), _, _ = sep.sum_circle(base, [target.x_tmpl], [target.y_tmpl], 8.0, bkgann=(15.0, 25.0))
    difference = science - truth.transparency * before
    assert difference == pytest.approx(target.flux_adu, abs=4 * error + 0.03 * abs(science))


def test_truths_places_belong_together(made, night):
    _, truths = made
    for truth in truths:
        for target in truth.targets.values():
            exposure = night.exposures[truths.index(truth)]
            back = exposure.pointing.to_frame(target.x_tmpl, target.y_tmpl, night.camera.shape)
            assert back == pytest.approx((target.x, target.y), abs=1e-9)


def test_what_changes_changes_as_the_night_needs(made):
    _, truths = made
    supernova = [t.targets["supernova"].snr for t in truths]
    assert supernova[0] == 0
    assert max(supernova) > 30
    mover = [(t.targets["mover"].x_tmpl, t.targets["mover"].y_tmpl) for t in truths]
    assert np.hypot(*np.subtract(mover[-1], mover[0])) > 20
    variable = [t.targets["variable"].snr for t in truths]
    assert max(variable) > 10
    assert min(variable) < -10


def test_wcs_is_right_but_for_its_drift(night, made):
    folder, truths = made
    base = WCS(fits.getheader(folder / "template.fits"))
    assert base.wcs_world2pix(*base.wcs.crval, 0) == pytest.approx((255.5, 255.5))  # the middle of 512 pixels
    for i in (0, 5):
        wcs = WCS(fits.getheader(folder / frame_name(i)))
        drift = night.exposures[i].wcs_drift_pixels
        target = truths[i].targets["supernova"]
        ra, dec = base.wcs_pix2world(target.x_tmpl, target.y_tmpl, 0)
        x, y = wcs.wcs_world2pix(ra, dec, 0)
        assert (x, y) == pytest.approx((target.x + drift[0], target.y + drift[1]), abs=1e-3)


def test_seeing_is_now_sharper_now_broader_than_the_template():
    night = plan(NightSettings())
    widths = np.array([exposure.psf.fwhm_pixels for exposure in night.exposures])
    base = night.template.psf.fwhm_pixels
    assert (widths < base - 0.2).sum() >= 2
    assert (widths > base + 0.2).sum() >= 2


@pytest.mark.parametrize("wrong", [{"frames": 0}, {"size_pixels": 100}, {"cadence_seconds": 0}, {"seed": -1}])
def test_settings_out_of_range_are_refused_with_the_numbers(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)).split("_")[0]):
        NightSettings(**wrong)
