"""How clean the differences are: simulated fields scored against their truth, several seeds pooled, beside the oracle's.

Pooled: what is counted by the area or the number that it was counted on (medians of chi2 and bias by theirs, as nearly as
the scorer tells); widths of pulls by their squares.
"""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.subtract_pairs import Field, pair, use
from bench.subtract_run import cold
from bench.table import Row

STAR_BINS = (20, 100, 300, 1000)  # the least S/N of score_diff's bins of stars
STRONG = ("n_7-10", "n_10-20", "n_20+")  # transients that recall speaks of

Score = dict[str, float]


@dataclass(frozen=True)
class Goals:
    """Most false positives and negatives per 10^6 px, artefacts (share of stars) and chi2 at S/N > star_snr, score width."""

    field: Field
    positive: float
    chi2: float
    star_snr: int
    negative: float | None = None
    artefacts: float | None = None
    width: float | None = None


FIELDS: tuple[Goals, ...] = (
    Goals(Field("stress", "--size 2048 --transients 800"), 1.5, 1.08, 300, negative=0.5, artefacts=0.05),
    Goals(Field("rich", "--size 3000 --psf-var 1.3"), 1.0, 1.05, 300, negative=0.4, artefacts=0.02),
    # ten stars that a kernel can be fitted on: with the galaxies that help it, and without any
    Goals(Field("sparse", "--size 1024 --px-per-star 10000"), 3.0, 1.2, 100, width=1.05),
    Goals(Field("empty", "--size 1024 --px-per-star 12000 --px-per-gal 300000 --host-frac 0"), 3.0, 1.2, 100, width=1.05),
)
SHORT: tuple[Goals, ...] = (
    Goals(Field("stress", "--size 1024 --transients 200"), 1.5, 1.08, 300, negative=0.5, artefacts=0.05),
    FIELDS[2],
)


class SubtractError(Exception):
    """There is no difference to judge; the message is the program's."""


def judged(field: Field, seed: int, folder: Path, *, with_masks: bool) -> Score:
    """Our difference of that pair, scored."""
    place = pair(field, seed, folder)
    out = place / "ours"
    shutil.rmtree(out, ignore_errors=True)
    done = cold(place, out, with_masks=with_masks)
    if done.status:
        raise SubtractError(f"exit status {done.status}: {done.complaint}")
    score = _score(place, "--product", out / "difference.fits", "--sources", out / "sources.ecsv")
    (place / "ours.json").write_text(json.dumps(score, indent=1))
    return score


def oracle(field: Field, seed: int, folder: Path) -> Score:
    """The difference of a perfectly known kernel, scored; kept beside the pair."""
    place = pair(field, seed, folder)
    kept = place / "oracle.json"
    if not kept.exists():
        use("oracle", place, place / "oracle.fits")
        kept.write_text(json.dumps(_score(place, place / "oracle.fits")))
    known: Score = json.loads(kept.read_text())
    return known


def _score(place: Path, *words: object) -> Score:
    """The scorer's figures that are numbers."""
    told = json.loads(use("score_diff", place, *words))
    return {name: value for name, value in told.items() if isinstance(value, float | int) and math.isfinite(value)}


def rows(goals: Goals, folder: Path, seeds: int, *, with_masks: bool) -> list[Row]:
    """The table of one field."""
    numbers = range(1, seeds + 1)
    ours = [judged(goals.field, seed, folder, with_masks=with_masks) for seed in numbers]
    best = [oracle(goals.field, seed, folder) for seed in numbers]
    return [
        limited(f"{goals.field.name}: {what}", value, low, high, note)
        for what, value, low, high, note in _figures(goals, ours, best)
    ]


def _figures(goals: Goals, ours: Sequence[Score], best: Sequence[Score]) -> list[tuple[str, float, float, float, str]]:
    """Name, value, least, most, what else is to be said."""
    none = -math.inf

    def beside(name: str) -> str:
        return f"oracle {mean(best, name, 'cover'):.2f}"

    out = []
    if goals.width is not None:
        out.append(("score width", mean(ours, "score_std"), none, goals.width, f"oracle {mean(best, 'score_std'):.3f}"))
    out.append(("false positives per 10^6 px", mean(ours, "fp", "cover"), none, goals.positive, beside("fp")))
    if goals.negative is not None:
        out.append(("negative ones per 10^6 px", mean(ours, "fpn", "cover"), none, goals.negative, beside("fpn")))
    snr = goals.star_snr
    if goals.artefacts is not None:
        art, n = of_stars(ours, "art", snr)
        out.append(
            (f"artefacts at S/N > {snr}", art, none, goals.artefacts, f"oracle {of_stars(best, 'art', snr)[0]:.3f}, n={n}")
        )
    chi2, n = of_stars(ours, "chi2", snr)
    out.append((f"chi2 at S/N > {snr}", chi2, none, goals.chi2, f"oracle {of_stars(best, 'chi2', snr)[0]:.3f}, n={n}"))
    return out + _against_truth(ours, best)


def _against_truth(ours: Sequence[Score], best: Sequence[Score]) -> list[tuple[str, float, float, float, str]]:
    """What every field must show."""
    none = -math.inf
    found, could = (mean(scores, "det_5-7", "n_5-7") for scores in (ours, best))
    bias, least = mean(ours, "bias"), mean(best, "bias")
    pulls, floor = (width_of_pulls(scores) for scores in (ours, best))
    n = int(sum(score["n_pull"] for score in ours))
    mine, scorers = (mean([_with_strong(s) for s in ours], name, "strong") for name in ("own_recall", "recall_5.5"))
    return [
        ("found at S/N 5-7, points over the oracle", 100 * (found - could), -5, 5, f"{found:.3f} - {could:.3f}"),
        ("flux bias over the oracle, %", bias - least, -0.5, 0.5, f"{bias:+.2f} - {least:+.2f}"),
        ("own SCORE width", mean(ours, "own_score_std"), 0.97, 1.03, _span(ours, "own_score_std")),
        ("pulls", pulls, 0.97, 1.03, f"oracle {floor:.3f}, +- {0.71 / math.sqrt(n):.3f}, n={n}"),
        ("D/sqrt(VAR)", mean(ours, "noise_cal"), 0.99, 1.01, _span(ours, "noise_cal")),
        ("unmasked share", mean(ours, "cover"), 0.97, math.inf, _span(ours, "cover")),
        ("sources.ecsv: recall over the scorer's", mine - scorers, -0.03, 0.03, f"{mine:.3f} - {scorers:.3f}"),
        ("sources.ecsv: false per 10^6 px", mean(ours, "own_false", "cover"), none, 1.0, _span(ours, "own_false")),
    ]


def mean(scores: Sequence[Score], name: str, weight: str | None = None) -> float:
    """Over the pairs that have that figure, by a weight that they have; NaN where none has."""
    known = [(score[name], 1.0 if weight is None else score[weight]) for score in scores if name in score]
    total = sum(w for _, w in known)
    return sum(value * w for value, w in known) / total if total else math.nan


def width_of_pulls(scores: Sequence[Score]) -> float:
    """Over all pairs' transients."""
    return math.sqrt(mean([{**s, "square": s["pull_all"] ** 2} for s in scores], "square", "n_pull"))


def of_stars(scores: Sequence[Score], name: str, snr: int) -> tuple[float, int]:
    """A figure of stars of at least that S/N, by their number; and that number."""
    bins = [f"_{least}" for least in STAR_BINS if least >= snr]
    each = [{"value": s[name + b], "n": s["nst" + b]} for s in scores for b in bins if name + b in s]
    return mean(each, "value", "n"), int(sum(one["n"] for one in each))


def _with_strong(score: Score) -> Score:
    return {**score, "strong": sum(score[name] for name in STRONG)}


def _span(scores: Sequence[Score], name: str) -> str:
    values = [score[name] for score in scores if name in score]
    return f"{min(values):.3f} ... {max(values):.3f}, n={len(values)}" if values else "none"


def limited(figure: str, value: float, low: float, high: float, note: str) -> Row:
    """A row of a number that must lie within limits, and by how much it does not."""
    goal = f"{low:g} ... {high:g}" if math.isfinite(low) and math.isfinite(high) else ""
    goal = goal or (f"<= {high:g}" if math.isfinite(high) else f">= {low:g}")
    missed = f", missed by {max(value - high, low - value):.3g}" if value < low or value > high else ""
    met = None if math.isnan(value) else low <= value <= high
    return Row(figure, goal, f"{value:.3f} ({note}){missed}", met)
