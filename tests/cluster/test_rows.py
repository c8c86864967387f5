"""What rows are made of, without a cluster."""

import json

from tests.cluster import ledger, picture
from tests.cluster.rows import ALL
from tests.cluster.rows_network import set_partitions, without_quorum
from tests.cluster.rows_ten import TEN


def test_every_partition_once():
    for names, count in (("abc", 5), ("abcd", 15)):
        found = list(set_partitions(names))
        assert len({frozenset(map(frozenset, groups)) for groups in found}) == len(found) == count
        assert all(sorted("".join(map("".join, groups))) == list(names) for groups in found)


def test_partitions_without_a_quorum():
    assert [sorted(map(len, groups)) for groups in without_quorum("abc")] == [[1, 1, 1]]
    assert sorted(sorted(map(len, groups)) for groups in without_quorum("abcd")) == (
        [[1, 1, 1, 1]] + 6 * [[1, 1, 2]] + 3 * [[2, 2]]
    )


def test_rows_have_names_of_their_own():
    assert len({take.__name__ for take in ALL}) == len(ALL)


def test_a_timeline_is_drawn(tmp_path):
    lines = []
    for number in range(60):
        for index, telescope in enumerate(TEN.telescopes):
            node = "b" if TEN.owner(telescope) == "a" and 20 <= number < 45 else TEN.owner(telescope)
            name, at = f"{telescope}-{number:05d}.fits", 1000.0 + 2.0 * number + 0.2 * index
            lines += [f"BEGIN {node} {telescope} {name} {at}", f"END {node} {telescope} {name} {at + 0.3}"]
            folder = tmp_path / "shared/products" / telescope / "N" / name[:-5]
            folder.mkdir(parents=True)
            told = {"telescope": telescope, "name": name, "node": node}
            (folder / "manifest.json").write_text(json.dumps(told))
    (tmp_path / "ledger").write_text("\n".join(lines))
    books = ledger.read(tmp_path / "shared", tmp_path / "ledger", {})
    picture.draw(books, TEN, {"a is cut off": 1030.0, "a is connected again": 1080.0}, tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").stat().st_size > 10_000
