"""What a verb of `ast3ctl` comes to."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Answer:
    """The result as JSON and as lines; `problem` is what stderr says where the work failed, with exit code 1."""

    data: Any
    lines: list[str] = field(default_factory=list)
    problem: str = ""
