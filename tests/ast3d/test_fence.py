"""The fence: nobody gets by a greater one, whoever raises it at the same time and whoever is killed."""

import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ast3d import fence, ledger, runner, work
from ast3d.claim import Claim
from ast3d.fence import FencedError, check, height, raise_to
from ast3d.order import Order
from ast3d.translate import worker_ended


def own(epoch, token):
    return Claim(epoch, token, own=True)


def foreign(epoch, token):
    return Claim(epoch, token, own=False, deadline=1.0)


@pytest.fixture
def names(tmp_path):
    return lambda: sorted(os.listdir(tmp_path / ".fence" / "t"))


def test_it_is_raised_once_and_what_is_below_goes(tmp_path, names):
    check(tmp_path, "t", foreign(0, 0))
    raise_to(tmp_path, "t", own(1, 5), "a")
    raise_to(tmp_path, "t", own(1, 5), "a")
    assert names() == ["1.5.a"]
    raise_to(tmp_path, "t", foreign(1, 17), "b.c-d")
    assert names() == ["1.17.b.c-d"]
    assert height(tmp_path / ".fence" / "t") == (1, 17)


def test_foreign_work_is_kept_out_by_any_greater_claim_and_own_work_by_a_greater_epoch(tmp_path):
    raise_to(tmp_path, "t", foreign(1, 17), "b")
    raise_to(tmp_path, "t", own(1, 5), "a")  # another stood in without need
    check(tmp_path, "t", own(1, 5))
    with pytest.raises(FencedError) as kept_out:
        check(tmp_path, "t", foreign(1, 16))
    assert kept_out.value.rank == (1, 16)
    raise_to(tmp_path, "t", own(2, 18), "b")
    for claim in (own(1, 5), foreign(1, 17), foreign(1, 99)):
        with pytest.raises(FencedError, match="fence of t is at epoch 2, token 18"):
            raise_to(tmp_path, "t", claim, "a")
    check(tmp_path, "u", foreign(0, 0))


def test_an_own_claim_below_leaves_no_name_and_removes_none_that_counts(tmp_path, names):
    raise_to(tmp_path, "t", foreign(1, 17), "b")
    raise_to(tmp_path, "t", own(1, 5), "a")
    assert names() == ["1.17.b"]


def test_what_is_no_fence_is_passed_over_and_stays(tmp_path, names):
    folder = tmp_path / ".fence" / "t"
    folder.mkdir(parents=True)
    for name in (".nfs0001", "x.1.a", "1.2", "9" * 30 + ".1.a", "notes"):
        (folder / name).touch()
    raise_to(tmp_path, "t", foreign(1, 1), "a")
    assert height(folder) == (1, 1)
    assert len(names()) == 6


def test_a_lower_one_goes_only_when_the_greater_one_is_durable(tmp_path, names, monkeypatch):
    raise_to(tmp_path, "t", own(1, 5), "a")
    synced = []
    monkeypatch.setattr(fence, "sync_up", lambda folder, _top: synced.append(sorted(os.listdir(folder))))
    raise_to(tmp_path, "t", foreign(1, 6), "b")
    assert synced == [["1.5.a", "1.6.b"]]
    assert names() == ["1.6.b"]


def test_who_cannot_make_it_durable_removes_nothing(tmp_path, names, monkeypatch):
    raise_to(tmp_path, "t", own(1, 5), "a")

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fence, "sync_up", fail)
    with pytest.raises(OSError, match="Input/output"):
        raise_to(tmp_path, "t", foreign(1, 6), "b")
    assert names() == ["1.5.a", "1.6.b"]


def test_a_store_that_does_not_say_lets_nobody_by(tmp_path):
    (tmp_path / ".fence").mkdir()
    (tmp_path / ".fence" / "t").write_text("a file")
    with pytest.raises(NotADirectoryError):
        check(tmp_path, "t", own(9, 9))


ranks = st.tuples(st.integers(0, 3), st.integers(0, 9))


@settings(deadline=None)  # it writes to a disk
@given(st.lists(st.tuples(ranks, st.booleans(), st.sampled_from("abc")), min_size=1, max_size=12))
def test_in_any_order_it_never_falls_and_lets_by_what_it_should(tmp_path_factory, claims):
    products = tmp_path_factory.mktemp("products")
    highest = (-1, -1)
    for (epoch, token), is_own, node in claims:
        claim = Claim(epoch, token, is_own, None if is_own else 1.0)
        refused = highest[0] > epoch if is_own else highest > (epoch, token)
        if refused:
            with pytest.raises(FencedError):
                raise_to(products, "t", claim, node)
        else:
            raise_to(products, "t", claim, node)
            highest = max(highest, claim.rank)
        assert height(products / ".fence" / "t") == highest


def _race(products: Path, node: int, start, won) -> None:
    start.wait()
    for token in range(node, 60, 3):
        try:
            raise_to(products, "t", foreign(1, token), f"n{node}")
        except FencedError:
            continue
        won.put(token)


def test_nodes_that_raise_it_at_the_same_time_leave_the_greatest(tmp_path):
    fork = multiprocessing.get_context("fork")
    start, won = fork.Event(), fork.Queue()
    racers = [fork.Process(target=_race, args=(tmp_path, node, start, won)) for node in range(3)]
    for racer in racers:
        racer.start()
    start.set()
    for racer in racers:
        racer.join(60)
        assert racer.exitcode == 0
    assert os.listdir(tmp_path / ".fence" / "t")
    assert height(tmp_path / ".fence" / "t") == (1, 59)


# --- the runner


@pytest.fixture
def order(tmp_path):
    """An attempt that has made its products and has yet to publish them."""
    frame = tmp_path / "a.fits"
    frame.write_bytes(b"frame")
    (tmp_path / "attempts").mkdir()
    made = Order(
        "id", 1, "t", "a.fits", 5, frame.stat().st_mtime_ns, str(frame), "", None, "", str(tmp_path / "products"),
        str(tmp_path / "attempts"), "", ["true"], {}, "", "a", {"epoch": 1, "token": 5, "own": True},
    )  # fmt: skip
    made.out.mkdir(parents=True)
    return made


def publish(order):
    with Path(order.frame).open("rb") as frame:
        return runner.publish(order, work.Ended("night"), frame.fileno(), 1.0)


def test_the_manifest_says_which_node_and_under_which_claim(order):
    publish(order)
    (manifest,) = Path(order.products).glob("t/*/*/manifest.json")
    told = json.loads(manifest.read_text())
    assert (told["node"], told["claim"]) == ("a", {"epoch": 1, "token": 5, "own": True})


def test_alone_the_manifest_and_the_folder_are_as_ever(order):
    alone = replace(order, node=None, claim=None)
    assert alone.out == Path(order.products) / ".tmp" / "id.1"
    assert order.out == Path(order.products) / ".tmp" / "a" / "id.1"
    alone.out.mkdir(parents=True)
    publish(alone)
    (manifest,) = Path(order.products).glob("t/*/*/manifest.json")
    assert not {"node", "claim"} & json.loads(manifest.read_text()).keys()
    assert not (Path(order.products) / ".fence").exists()


def test_who_was_taken_over_from_while_it_worked_publishes_nothing(order):
    raise_to(Path(order.products), "t", Claim(2, 9, own=True), "b")
    with pytest.raises(runner.AttemptFailedError) as kept_out:
        publish(order)
    assert kept_out.value.fenced
    assert list(Path(order.products).glob("t/*/*/manifest.json")) == []


def test_who_was_taken_over_from_before_does_not_begin_and_says_so_in_its_account(order):
    raise_to(Path(order.products), "t", Claim(2, 9, own=True), "b")
    with pytest.raises(runner.AttemptFailedError) as kept_out:
        runner.require_unfenced(order, fence.raise_to, order.node)
    told = ledger.Account("id", 1, "t", "a", 5, 1, 1, 1, "", 0.0, ended=True, fenced=True, claim=order.claim)
    assert kept_out.value.fenced
    assert worker_ended(told, 1.0).fenced == (1, 5)
    assert worker_ended(replace(told, fenced=False), 1.0).fenced is None
