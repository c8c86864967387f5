"""What was done with a frame: for the manifest, and for whoever called."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from photometry.manifest import plain

Figures = dict[str, Any]
Progress = Callable[[str], object]


@dataclass(frozen=True)
class StageReport:
    """What one stage took and found."""

    name: str
    seconds: float
    figures: Figures


@dataclass
class Report:
    """What was done with a frame.

    night: as `photometry.times.night_of`; subtracted: there is a difference; flags: what is wrong with the frame, words of
    `photometry.verdict`; notes: a line each, for a person.
    """

    night: str = "undated"
    template: str | None = None
    subtracted: bool = False
    stages: list[StageReport] = field(default_factory=list)
    figures: Figures = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def flag(self, word: str, why: str) -> None:
        """Flag the frame, and note why."""
        self.flags.append(word)
        self.notes.append(why)

    def as_dict(self) -> dict[str, Any]:
        """As JSON can hold it: numbers that are not finite are None."""
        stages = [{"name": s.name, "seconds": round(s.seconds, 4), "figures": s.figures} for s in self.stages]
        found: dict[str, Any] = plain(
            {
                "night": self.night,
                "template": self.template,
                "subtracted": self.subtracted,
                "stages": stages,
                "figures": self.figures,
                "flags": sorted(set(self.flags)),
                "notes": self.notes,
            }
        )
        return found
