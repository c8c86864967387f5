import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast3ctl.words import duration, printable, size, table


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "?"),
        (0, "0 s"),
        (0.0123, "0.0123 s"),
        (12.34, "12.3 s"),
        (59.96, "60 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (90_000, "1 d 1 h"),
        (86_460, "1 d"),
    ],
)
def test_duration(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(("count", "words"), [(0, "0 B"), (999, "999 B"), (3_400_000, "3.4 MB"), (5e12, "5e+03 GB")])
def test_size(count, words):
    assert size(count) == words


@given(st.text(st.characters(exclude_categories=())))
def test_a_terminal_survives_everything(text):
    assert printable(text).isprintable()


def test_table():
    assert table([["a", "bb", "c"], ["aaa", "b", ""]]) == ["a    bb  c", "aaa  b"]
    assert table([]) == []
