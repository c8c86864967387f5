"""The books can be wrong, and say so."""

import json
import time

import pytest

from tests.cluster import ledger

CLAIM = {"epoch": 1, "token": 7, "own": False}


@pytest.fixture
def kept(tmp_path):
    """t1-00000 by a, as it should be."""
    shared, book = tmp_path / "shared", tmp_path / "ledger"
    publish(shared, "t1-00000.fits", "a", {"epoch": 1, "token": 7, "own": True})
    tell(book, "a", "t1-00000.fits", 100.0)
    return shared, book


def publish(shared, name, node, claim, night="N"):
    folder = shared / "products" / "t1" / night / f"{name[:-5]}-0123456789ab"
    folder.mkdir(parents=True)
    told = {"telescope": "t1", "name": name, "node": node, "claim": claim}
    (folder / "manifest.json").write_text(json.dumps(told))


def tell(book, node, name, at, what=("BEGIN", "END")):
    with book.open("a") as file:
        file.writelines(f"{word} {node} t1 {name} {at:.3f}\n" for word in what)


def wrong(kept, sent=("t1-00000.fits",)):
    return [line.split(" t1")[0] for line in ledger.read(*kept, {"t1": dict.fromkeys(sent, 0.0)}).wrong()]


def test_right_books_are_right(kept):
    assert wrong(kept) == []


def test_a_lost_frame_is_missed(kept):
    assert wrong(kept, ("t1-00000.fits", "t1-00001.fits")) == ["lost"]


def test_a_second_product_is_seen(kept):
    publish(kept[0], "t1-00000.fits", "a", CLAIM, "M")
    assert wrong(kept) == ["accepted twice"]


def test_a_frame_archived_twice_is_seen(kept):
    for night in ("M", "N"):
        folder = kept[0] / "archive" / "t1" / night
        folder.mkdir(parents=True)
        (folder / "t1-00000-0123456789ab.fits").touch()
    assert wrong(kept) == ["accepted twice"]


def test_a_product_by_another_node_is_seen(kept):
    publish(kept[0], "t1-00001.fits", "b", CLAIM)
    tell(kept[1], "c", "t1-00001.fits", 101.0)
    assert wrong(kept) == ["not by whom it names"]


def test_two_under_one_token_are_seen(kept):
    for name, node in (("t1-00001.fits", "b"), ("t1-00002.fits", "c")):
        publish(kept[0], name, node, CLAIM)
        tell(kept[1], node, name, 101.0)
    assert wrong(kept) == ["one token for two"]


def test_two_under_one_token_may_be_where_one_had_no_quorum(kept):
    for name, node in (("t1-00001.fits", "b"), ("t1-00002.fits", "c")):
        publish(kept[0], name, node, CLAIM)
        tell(kept[1], node, name, 101.0)
    assert ledger.read(*kept, {}, frozenset({("c", "t1")})).wrong() == []


def test_a_lower_token_after_a_greater_one_is_seen(kept):
    publish(kept[0], "t1-00001.fits", "b", CLAIM | {"token": 9})
    tell(kept[1], "b", "t1-00001.fits", 101.0)
    publish(kept[0], "t1-00002.fits", "c", CLAIM | {"token": 8})
    tell(kept[1], "c", "t1-00002.fits", time.monotonic() + 10.0)
    assert wrong(kept) == ["a lower token after a greater one"]


def test_work_that_began_twice_is_counted_and_allowed(kept):
    tell(kept[1], "b", "t1-00000.fits", 99.0, ("BEGIN",))
    assert wrong(kept) == []
    assert ledger.read(*kept, {}).computed_twice() == ["t1-00000.fits"]
