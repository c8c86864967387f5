"""The program that `pipeline.command` names: how its words are filled in, and what its end means.

The worker and `ast3ctl reproduce` use the same functions, so that both tell the same failure in the same words.
"""

import signal


def fill(command: list[str], frame: str, out: str, telescope: str) -> list[str]:
    """The words with {frame}, {out} and {telescope} replaced."""
    places = {"{frame}": frame, "{out}": out, "{telescope}": telescope}
    return [_fill(word, places) for word in command]


def _fill(word: str, places: dict[str, str]) -> str:
    """A name that itself contains {out} stays as it is: each place is filled once, from the left."""
    for mark, value in places.items():
        before, found, behind = word.partition(mark)
        if found:
            return _fill(before, places) + value + _fill(behind, places)
    return word


def not_runnable(program: str, error: OSError) -> str:
    """Why a program could not even be begun."""
    return f"pipeline.command {program}: {error.strerror}; correct the configuration"


def ended_by(number: int) -> str:
    """Why there are no products after a signal."""
    return f"the work was ended by {signal.Signals(number).name}"


def exited(what: str, status: int, said: str) -> str:
    """Why there are no products after an exit status; with the last line that was said, as a terminal survives it."""
    last = said.strip().rpartition("\n")[2]
    if not last:
        return f"{what} exited with status {status} and said nothing"
    return f"{what} exited with status {status}: {''.join(char if char.isprintable() else '?' for char in last)[:300]}"
