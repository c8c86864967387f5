from bench.table import Row, percentile, show


def test_a_percentile_is_a_value_that_was_measured():
    values = [float(value) for value in range(200, 0, -1)]
    assert percentile(values, 50) == 100
    assert percentile(values, 99) == 198
    assert percentile(values, 100) == 200
    assert percentile([0.3], 99) == percentile([0.3], 0) == 0.3


def test_what_was_not_taken_is_not_met():
    lines = show(
        [Row("a", "<= 1", "0.5, n=2", True), Row("b", "<= 1", "2, n=2", False), Row("c", "", "no disk", None)]
    ).splitlines()
    assert [line.rpartition("| ")[2] for line in lines[2:-1]] == ["yes", "NO", "not taken"]
    assert lines[-1] == "met 1 of 3"
