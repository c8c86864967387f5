import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ast3ctl.disk import Finished
from ast3ctl.story import story
from ast3d.common.layout import Layout

KEYS = (
    *("name", "night", "published", "seconds", "attempt", "attempts", "stages", "figures"),
    *("notes", "files", "bytes", "reason", "blame", "tail", "discarded"),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@example({"night": "\0"}, "DONE")
@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=6), st.sampled_from(["DONE", "DISCARDED"]))
def test_whatever_the_file_holds_it_is_told_in_printable_lines(tmp_path_factory, facts, state):
    folder = tmp_path_factory.getbasetemp() / "task"
    folder.mkdir(exist_ok=True)
    (folder / ("manifest.json" if state == "DONE" else "why.json")).write_text(json.dumps(facts))
    lines = story(Layout.under(folder), Finished("task", state, "ast3-1", folder))
    assert lines
    assert all(line.isprintable() for line in lines)
