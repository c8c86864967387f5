"""Measured templates: kept for the next frame, and measured again whenever anything differs or is damaged."""

import dataclasses

import numpy as np
import pytest

from photometry import template
from photometry.errors import BadFrameError, EnvironmentFailedError
from photometry.settings import Settings
from photometry.template import load_template


@pytest.fixture
def path(make_sky, tmp_path):
    return make_sky(stars=30).write(tmp_path / "template.fits")


@pytest.fixture
def measured(monkeypatch):
    """How often a template was measured."""
    calls = []

    def counted(frame, settings, **how):
        calls.append(settings)
        return real(frame, settings, **how)

    real = template.measure
    monkeypatch.setattr(template, "measure", counted)
    return calls


def test_it_is_measured_once_and_kept_is_what_was_measured(path, tmp_path, measured):
    first = load_template(path, Settings(), tmp_path / "kept")
    again = load_template(path, Settings(), tmp_path / "kept")
    assert len(measured) == 1
    for field in dataclasses.fields(first.image):
        np.testing.assert_array_equal(getattr(first.image, field.name), getattr(again.image, field.name))
    np.testing.assert_array_equal(first.stars, again.stars)
    assert again.fwhm_pixels == first.fwhm_pixels


def test_another_file_and_other_settings_are_measured(path, make_sky, tmp_path, measured):
    load_template(path, Settings(), tmp_path / "kept")
    load_template(path, Settings(background_mesh_pixels=32), tmp_path / "kept")
    path.unlink()
    make_sky(stars=20).write(path)
    load_template(path, Settings(), tmp_path / "kept")
    assert len(measured) == 3


@pytest.mark.parametrize("damage", [b"", b"not what it was", None])
def test_what_is_damaged_is_measured_again(path, tmp_path, measured, damage):
    load_template(path, Settings(), tmp_path / "kept")
    (kept,) = (tmp_path / "kept").iterdir()
    kept.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2] if damage is None else damage)
    load_template(path, Settings(), tmp_path / "kept")
    load_template(path, Settings(), tmp_path / "kept")
    assert len(measured) == 2


def test_only_the_last_few_are_kept(path, tmp_path):
    for pixels in (16, 24, 32, 40, 48, 56):
        load_template(path, Settings(background_mesh_pixels=pixels), tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 4


def test_where_nothing_can_be_kept_it_is_measured(path, tmp_path, measured):
    (tmp_path / "kept").write_text("in the way")
    load_template(path, Settings(), tmp_path / "kept")
    load_template(path, Settings(), None)
    assert len(measured) == 2


def test_a_template_that_is_not_there_or_no_frame(tmp_path):
    with pytest.raises(EnvironmentFailedError):
        load_template(tmp_path / "none.fits", Settings(), tmp_path / "kept")
    (tmp_path / "text.fits").write_text("no frame")
    with pytest.raises(BadFrameError):
        load_template(tmp_path / "text.fits", Settings(), tmp_path / "kept")
