"""The blind rung: anywhere in the catalog, bounded in time."""

import time

import pytest

from photometry.astrometry import AstrometrySettings, blind, build_indexes, solve
from photometry.astrometry.blind import missing_programs
from photometry.errors import AstrometryFailedError, EnvironmentFailedError
from tests.photometry.astrometry.fields import Field, misses, shuffled, simulate

FIELD = Field(359.9, -89.5, 33.0, True, 2.0, (1000, 1200), 100, bend=3.0)
KNOWN = AstrometrySettings(2.03, blind_seconds=20.0)
needed = pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}")


@pytest.fixture(scope="module")
def sky(tmp_path_factory):
    truth = simulate(FIELD, reach=1.0)
    return truth, build_indexes(truth.catalog, 2000.0, FIELD.shape, KNOWN, tmp_path_factory.mktemp("indexes"))


@needed
def test_a_frame_is_solved_without_a_pointing(sky):
    truth, indexes = sky
    solution = blind(truth.stars, FIELD.shape, truth.catalog, indexes, 2000.0, KNOWN)
    assert misses(solution.header, truth.wcs, FIELD.shape).max() < 0.3
    assert solution.rung == "blind"
    again = solve(truth.stars, FIELD.shape, 2000.0, KNOWN, None, truth.catalog, (180.0, 89.0), indexes)
    assert again == solution


@needed
def test_shuffled_stars_are_refused(sky):
    truth, indexes = sky
    with pytest.raises(AstrometryFailedError, match=r"no such pattern|not believed|fell apart"):
        blind(shuffled(truth.stars, 1), FIELD.shape, truth.catalog, indexes, 2000.0, KNOWN)


@needed
def test_indexes_are_made_once(sky):
    truth, indexes = sky
    before = [path.stat().st_mtime_ns for path in indexes]
    assert build_indexes(truth.catalog, 2000.2, FIELD.shape, KNOWN, indexes[0].parent) == indexes
    assert [path.stat().st_mtime_ns for path in indexes] == before
    assert sorted(path.name for path in indexes[0].parent.iterdir()) == sorted(path.name for path in indexes)


def program(folder, name, text):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("exec sleep 60", AstrometryFailedError, r"0\.5 s"),
        ("echo no >&2; exit 3", EnvironmentFailedError, "status 3: no"),
    ],
)
def test_a_program_that_hangs_or_fails_is_told(tmp_path, monkeypatch, text, error, said):
    for name in ("solve-field", "astrometry-engine", "build-astrometry-index"):
        program(tmp_path, name, text)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    truth = simulate(Field(stars=30), reach=1.0)
    start = time.monotonic()
    with pytest.raises(error, match=said):
        blind(truth.stars, FIELD.shape, truth.catalog, (), 2000.0, AstrometrySettings(2.0, blind_seconds=0.5))
    assert time.monotonic() - start < 30


def test_absent_programs_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFailedError, match=r"solve-field.*astrometry\.net"):
        build_indexes(simulate(Field(stars=30), reach=1.0).catalog, 2000.0, (100, 100), AstrometrySettings(2.0), tmp_path)


@needed
def test_hardly_a_star_is_no_error_of_ours(sky):
    truth, indexes = sky
    with pytest.raises(AstrometryFailedError):
        blind(truth.stars[:0], FIELD.shape, truth.catalog, indexes, 2000.0, KNOWN)
