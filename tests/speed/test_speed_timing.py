"""What is made of measured seconds: ratios, spreads, units, the table, exponents; all by hand."""

import json
from pathlib import Path

import pytest

from benchmarks.speed import growth, timing
from benchmarks.speed.table import figure, short, table
from benchmarks.speed.timing import Point, Seconds, alone, alternate, compared, repeat


def test_a_comparison_in_seconds():
    row = compared(9, "work", Seconds([2.0, 1.0, 4.0], [20.0, 30.0, 10.0]), users=7)
    assert (row.ours, row.rival, row.ratio, row.unit) == (2.0, 20.0, 10.0, "s")  # medians
    assert row.spread == (2.5, 30.0)  # 10 / 4 and 30 / 1: repetition beside repetition
    assert row.more == {"repetitions": 3, "users": 7}


def test_a_comparison_in_work_a_second():
    row = compared(1, "work", Seconds([2.0] * 5, [8.0] * 5), "targets/s", amount=100, rival_amount=50)
    assert (row.ours, row.rival) == (50.0, 6.25)
    assert row.ratio == 8.0
    assert row.spread == (8.0, 8.0)


def test_a_comparison_in_milliseconds():
    row = compared(6, "work", Seconds([0.004], [0.002]), "ms")
    assert (row.ours, row.rival, row.ratio) == (4.0, 2.0, 0.5)


def test_a_work_without_rival():
    row = alone(3, "work", [3.0, 1.0, 2.0], "users/s", amount=6, set="beauty")
    assert (row.ours, row.rival, row.ratio) == (3.0, None, None)
    assert row.spread == (2.0, 6.0)
    assert row.more == {"repetitions": 3, "set": "beauty"}


def test_sides_take_turns_and_warmups_do_not_count(monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    clock = iter(range(100))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    seconds = alternate(lambda: calls.append("ours"), lambda: calls.append("rival"), repetitions=2, warmups=1)
    assert calls == ["ours", "rival"] * 3
    assert seconds == Seconds([1.0, 1.0], [1.0, 1.0])
    assert repeat(lambda: calls.append("again"), repetitions=3, warmups=2) == [1.0] * 3
    assert calls.count("again") == 5


def test_table():
    rows = [
        {"row": 4, "name": "beam", "ours": 1234.4, "rival": 12, "unit": "users/s", "ratio": 102.9, "spread": (98, 110)},
        {"row": 5, "name": "exact", "ours": 0.5, "rival": None, "unit": "s", "ratio": None, "spread": (0.4, 0.61)},
    ]  # fmt: skip
    assert table(rows).splitlines()[2:] == [
        "| 4 | beam | 1,234 users/s | 12.0 users/s | 103 × (98.0–110) |",
        "| 5 | exact | 0.500 s | – | (0.400–0.610 s) |",
    ]
    assert figure(None, "s") == "–"
    assert [short(value) for value in (0, 0.01234, 9.999, 123.4, 1e6)] == ["0", "0.0123", "10.0", "123", "1,000,000"]


def test_the_exponent_of_a_power_law():
    points = [Point(8, "items", "ours", size, 3e-6 * size**1.5) for size in (100, 1000, 7000, 50_000)]
    points += [Point(8, "items", "rival", size, 2.0) for size in (100, 1000)]
    points += [Point(8, "dimensions", "ours", 64, 1.0)]  # one size has no slope
    found = growth.exponents(points)
    assert [(line["axis"], line["side"], line["sizes"]) for line in found] == [
        ("items", "ours", 4),
        ("items", "rival", 2),
    ]
    assert (found[0]["exponent"], found[0]["last"]) == (1.5, 1.5)
    assert found[1]["exponent"] == found[1]["last"] == 0


def test_the_last_slope_leaves_out_fixed_costs():
    points = [Point(1, "items", "ours", size, 10 + size) for size in (1, 10, 1e5, 1e6)]
    (line,) = growth.exponents(points)
    assert line["exponent"] < 0.95
    assert line["last"] == pytest.approx(1, abs=1e-3)


def test_growth_keeps_what_it_does_not_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    points = [Point(4, "beams", "ours", size, 0.1 * size) for size in (10, 20, 40, 80)]
    record = {"module": "beam_search", "points": [point._asdict() for point in points]}
    (tmp_path / "growth.json").write_text(json.dumps({"modules": [record], "exponents": []}))
    monkeypatch.setattr(growth, "available", lambda module: False)
    assert growth.main(["--rows", "8", "--out", str(tmp_path)]) == 0
    assert growth.points_of(growth.load(tmp_path / "growth.json")) == points
    written = json.loads((tmp_path / "growth.json").read_text())
    assert [line["exponent"] for line in written["exponents"]] == [1.0]
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
