"""The table of figures: what was promised, what was measured, and whether that is kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

TITLES = ("figure", "goal", "measured", "met")


@dataclass(frozen=True)
class Row:
    """One figure; `measured` says its n.  `met` is None where it could not be taken, and `measured` says why."""

    figure: str
    goal: str
    measured: str
    met: bool | None

    def cells(self) -> tuple[str, str, str, str]:
        """As they are printed."""
        return self.figure, self.goal, self.measured, {True: "yes", False: "NO", None: "not taken"}[self.met]


def show(rows: Sequence[Row]) -> str:
    """The table, and `met N of M` as its last line."""
    cells = [TITLES, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(TITLES))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    lines.insert(1, "-+-".join("-" * width for width in widths))
    return "\n".join([*lines, f"met {sum(row.met is True for row in rows)} of {len(rows)}"])


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)]
