"""A timeline: a line for each telescope, a tick for each frame, in the colour of the node whose product was accepted."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.cluster.ledger import Books, Run
from tests.cluster.paper import Plan

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7")  # Okabe and Ito's: told apart by everybody
SIZE_INCHES = (10.0, 5.2)
DPI = 120


def draw(books: Books, plan: Plan, events: Mapping[str, float], path: Path) -> None:
    """Write the picture; times are seconds since the first frame."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    colour = dict(zip(plan.nodes, COLOURS, strict=False))
    accepted = {(product.node, product.name) for product in books.products}
    done = [run for run in books.runs if (run.node, run.name) in accepted]
    begin = min(run.began for run in done)
    figure, ax = plt.subplots(figsize=SIZE_INCHES, layout="constrained")
    rows = {name: -number for number, name in enumerate(plan.telescopes)}
    for name, y in rows.items():
        ours = sorted((run for run in done if run.telescope == name), key=lambda run: run.began)
        _line(ax, ours, y, begin, colour)
    for text, at in events.items():
        ax.axvline(at - begin, color="0.25", linestyle="--", linewidth=1)
        ax.annotate(text, (at - begin, 0.7), xytext=(4, 0), textcoords="offset points", fontsize=9, color="0.25")
    ax.set_yticks(list(rows.values()), [f"{name} of {plan.owner(name)}" for name in rows])
    ax.set_ylim(min(rows.values()) - 0.7, 1.3)
    ax.set_xlabel("seconds")
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    marks = [Line2D([], [], color=colour[node], linewidth=6, label=f"node {node}") for node in plan.nodes]
    ax.legend(handles=marks, ncols=len(marks), frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _line(ax: Any, ours: list[Run], y: float, begin: float, colour: Mapping[str, str]) -> None:
    """A telescope's frames; between two of one node a pale bar says that it is at work."""
    for run in ours:
        ax.plot([run.began - begin] * 2, [y - 0.32, y + 0.32], color=colour[run.node], linewidth=1.6, solid_capstyle="butt")
    for run, following in pairwise(ours):
        ax.plot([run.began - begin, following.began - begin], [y, y], color=colour[run.node], linewidth=5, alpha=0.3,
                solid_capstyle="butt")  # fmt: skip
