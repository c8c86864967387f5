import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import subtract_quality as quality
from bench import subtract_robust as robust
from bench.subtract_pairs import Field, PairError, masks, pair, tool

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    try:
        tool("sim_pair")
    except PairError as absent:
        pytest.skip(str(absent))
    return tmp_path_factory.mktemp("pairs")


def test_counts_are_pooled_by_what_they_were_counted_on():
    scores = [{"fp": 4.0, "cover": 0.25}, {"fp": 0.0, "cover": 0.75}, {"cover": 1.0}]
    assert quality.mean(scores, "fp", "cover") == 1.0
    assert quality.mean(scores, "fp") == 2.0
    stars = [
        {"art_300": 0.5, "nst_300": 2, "art_1000": 0.0, "nst_1000": 6},
        {"art_100": 1.0, "nst_100": 9, "nst_300": 0},
    ]
    assert quality.of_stars(stars, "art", 300) == (0.125, 8)


def test_a_missed_goal_says_by_how_much_and_what_is_unknown_is_not_met():
    assert quality.limited("a", 1.25, 0.97, 1.03, "n=2").cells() == (
        "a",
        "0.97 ... 1.03",
        "1.250 (n=2), missed by 0.22",
        "NO",
    )
    assert quality.limited("a", 0.9, float("-inf"), 1.0, "n=2").cells() == ("a", "<= 1", "0.900 (n=2)", "yes")
    assert quality.limited("a", float("nan"), float("-inf"), 1.0, "none").met is None


def test_a_pair_is_made_once_and_anew_when_its_options_change(pairs):
    field = Field("tiny", "--size 128 --transients 3", masked_share=0.3)
    place = pair(field, 1, pairs)
    made = (place / "sci.fits").stat().st_mtime_ns
    assert pair(field, 1, pairs) == place
    assert (place / "sci.fits").stat().st_mtime_ns == made
    assert (place / "mask_more.fits").exists()
    assert str(place / "mask_more.fits") in masks(place)
    assert pair(Field("tiny", "--size 128 --transients 4"), 1, pairs) != place
    with pytest.raises(PairError, match=r"sim_pair: .*unrecognized"):
        pair(Field("tiny", "--sise 128"), 1, pairs)


def test_a_refusal_is_kept_to_only_when_it_says_why_in_one_line(pairs, monkeypatch):
    def refuse(words):
        def judged(*_args, **_options):
            raise quality.SubtractError(words)

        monkeypatch.setattr(robust, "judged", judged)
        return robust.row(Field("x", ""), pairs, 2, with_masks=True)

    assert refuse("exit status 1: ast3-photometry: no star").met is True
    assert refuse("exit status 1: Traceback\nKeyError").met is False


def test_the_short_table_shows_a_field_beside_the_oracle(pairs):
    words = [sys.executable, "-m", "bench.subtract", "--short", "--row", "sparse", "--pairs", str(pairs)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env={**os.environ})
    assert done.returncode in {0, 1}, done.stderr
    assert "sparse: flux bias over the oracle, %" in done.stdout
    assert "quality-sparse: " in done.stderr
    assert "not taken" not in done.stdout
    assert done.stdout.splitlines()[-1].startswith("met ")
