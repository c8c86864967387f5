"""Pairs that are made to go wrong: a difference as clean as it says, or a refusal that says why; never silent nonsense."""

from collections.abc import Sequence
from pathlib import Path

from bench.subtract_pairs import Field
from bench.subtract_quality import Score, SubtractError, judged, mean
from bench.table import Row

WIDTH = (0.95, 1.05)
POSITIVE = 3.0  # false ones per 10^6 px

SQUARE = "--size 1448"
NO_GALAXIES = "--px-per-gal 1e12 --host-frac 0"
FIELDS: tuple[Field, ...] = (
    Field("science-sharper", f"{SQUARE} --fwhm-sci 3.5 --fwhm-ref 5"),
    Field("undersampled", f"{SQUARE} --fwhm-sci 2.4 --fwhm-ref 2.0"),
    Field("equal-depth", f"{SQUARE} --gain-ref 1.5 --rn-ref 6 --sky-ref 400"),
    Field("unmasked-cosmic-rays", f"{SQUARE} --cr-masked 0"),
    Field("curved-sky", f"{SQUARE} --sky-curv .02"),
    Field("astrometry", f"{SQUARE} --astrom .53"),
    Field("jitter", f"{SQUARE} --jitter .2"),
    Field("shift-rotation", f"{SQUARE} --shift 20.4 -7.7 --rot 1.5"),
    Field("non-square", "--nx 2048 --ny 1024"),
    Field("masked-squares", SQUARE, masked_share=0.3),
    Field("masked-pixels", SQUARE, masked_share=0.3, masked_block=1),
    Field("six-usable-stars", "--size 1024 --px-per-star 17000"),
    Field("six-stars", f"--size 1024 --px-per-star 174000 {NO_GALAXIES}"),
    Field("no-stars", "--size 1024 --px-per-star 1e12"),
    Field("nothing", f"--size 1024 --px-per-star 1e12 {NO_GALAXIES}"),
)
SHORT: tuple[Field, ...] = (
    Field("short", "--size 640 --transients 60"),
    Field("short-nothing", f"--size 640 --px-per-star 1e12 {NO_GALAXIES}"),
)


def row(field: Field, folder: Path, seeds: int, *, with_masks: bool) -> Row:
    """Either all seeds' differences, pooled, or the first refusal with its words."""
    scores: list[Score] = []
    refused: list[str] = []
    for seed in range(1, seeds + 1):
        try:
            scores.append(judged(field, seed, folder, with_masks=with_masks))
        except SubtractError as error:
            refused.append(str(error))
    figure, goal = (
        f"{field.name} ({field.options})",
        f"width {WIDTH[0]:g} ... {WIDTH[1]:g}, false <= {POSITIVE:g}; or says why",
    )
    said = [f"{len(refused)} refused: {refused[0]}"] if refused else []
    clean = all(_one_line(words) for words in refused)
    if scores:
        said.append(_measured(scores))
    return Row(figure, goal, "; ".join(said), clean and _kept(scores))


def _one_line(words: str) -> bool:
    """Whether a refusal is one, and no crash."""
    return "\n" not in words and "ast3-photometry: " in words


def _kept(scores: Sequence[Score]) -> bool:
    if not scores:
        return True
    return WIDTH[0] <= mean(scores, "own_score_std") <= WIDTH[1] and mean(scores, "fp", "cover") <= POSITIVE


def _measured(scores: Sequence[Score]) -> str:
    """The two figures, by how much each is missed, and others that tell what it cost."""
    width, positive = mean(scores, "own_score_std"), mean(scores, "fp", "cover")
    words = f"width {width:.3f}{_missed(max(width - WIDTH[1], WIDTH[0] - width))}"
    words += f", false {positive:.2f}{_missed(positive - POSITIVE)}"
    return (
        words
        + "".join(
            f", {what} {mean(scores, name):.2f}"
            for name, what in (
                ("fpn", "negative"),
                ("cover", "unmasked"),
                ("own_recall", "recall"),
                ("own_false", "own false"),
            )
        )
        + f", n={len(scores)}"
    )


def _missed(much: float) -> str:
    return f" (missed by {much:.3g})" if much > 0 else ""
