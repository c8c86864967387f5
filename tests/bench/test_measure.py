"""The one table of bench.measure on small frames: that it has its rows, and that what does not hang on speed is met."""

import dataclasses

import numpy as np
import pytest

from bench import measure
from bench.measure_bad_input import CASES
from bench.measure_truth import _width
from bench.table import Row

TINY = dataclasses.replace(
    measure.SHORT,
    sides=(528, 1_056),
    repeats=1,
    noise=528,
    bad=tuple(case for case in CASES if case.name in {"trailed", "empty", "one star"}),
)
NAMES = ["chain", "noise", "fits", "truth", "fields", "astrometry", "sky", "flatness", "bad-input"]


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    return measure.Figures(TINY, 1, tmp_path_factory.mktemp("keep"), tmp_path_factory.mktemp("place"))


def test_the_table_has_every_part_of_the_promise(figures):
    assert list(figures.takes()) == NAMES


def test_a_raw_frame_is_taken_to_magnitudes_that_are_true(figures):
    chain = measure.rows(figures, ["chain"])
    assert [row.figure for row in chain] == ["raw 1056^2 frame to catalog", "its peak memory", "growth from 528^2"]
    assert [row.met for row in chain] == [None, None, True]  # seconds and memory are judged on AST3's own frame
    assert [row.met for row in measure.rows(figures, ["truth", "sky"])] == [None, None, None, None]  # too few stars
    alone = figures._alone
    whole = alone.snr > 20
    assert whole.sum() > 20
    off = (alone.brighter * alone.snr)[whole]
    assert abs(np.median(off)) < 0.6
    assert 0.6 < _width(off) < 1.5


def test_bad_input_is_flagged_and_noise_is_what_physics_leaves(figures):
    noise, bad = measure.rows(figures, ["noise", "bad"])
    assert noise.met, noise
    assert bad.met, bad
    assert bad.measured.startswith("4 of 4")


def test_of_several_rows_one_miss_is_a_miss():
    def row(met):
        return Row("part", "<= 1", str(met), met)

    assert measure.gather("all", [row(True), row(True)]) == Row("all", "<= 1", "True; True", True)
    assert measure.gather("all", [row(True), row(None)]).met is None
    assert measure.gather("all", [row(None), row(False)]).met is False
