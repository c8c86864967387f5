"""Figures as an operator reads them, and text that a terminal survives."""

from collections.abc import Sequence
from typing import Any

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def printable(text: object) -> str:
    """The text with every character that a terminal would not print (or would obey) written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def duration(seconds: float | None) -> str:
    """`12.3 s`, `5 min`, `2 h 5 min`, `3 d 4 h`; `?` if nobody knows."""
    if seconds is None:
        return "?"
    if seconds < 60:
        return f"{seconds:.3g} s"
    left = round(seconds)
    parts: list[tuple[int, str]] = []
    for name, size in _UNITS:
        count, left = divmod(left, size)
        if count or parts:
            parts.append((count, name))
    return " ".join(f"{count} {name}" for count, name in parts[:2] if count)


def size(count: float) -> str:
    """`512 B`, `12 kB`, `3.4 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.3g} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1000
    raise AssertionError


def figure(value: Any) -> str:
    """A figure of a manifest."""
    return f"{value:.4g}" if isinstance(value, float) else printable(value)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns as wide as they must be, two spaces between; the last one is not padded."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
