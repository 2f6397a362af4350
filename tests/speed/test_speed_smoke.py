"""Every measurement still runs and says what it should, at sizes of seconds; no figure is asserted."""

import dataclasses
import importlib
import json
import math
from pathlib import Path

import pytest

from benchmarks.speed import __main__ as benchmark
from benchmarks.speed import growth
from benchmarks.speed.table import table
from benchmarks.speed.timing import Point, Row


def module_of(name: str):
    if not growth.available(name):
        pytest.skip(f"there is no module {name}")
    return importlib.import_module(f"benchmarks.speed.{name}")


def check_row(row: Row, numbers: tuple[int, ...]) -> None:
    assert isinstance(row, Row)
    assert row.row in numbers
    assert row.name
    assert row.unit
    assert math.isfinite(row.ours)
    assert row.ours > 0
    assert (row.rival is None) or (math.isfinite(row.rival) and row.rival > 0)
    assert (row.ratio is None) or (math.isfinite(row.ratio) and row.ratio > 0)
    low, high = row.spread
    assert 0 < low <= high < math.inf
    assert not {field.name for field in dataclasses.fields(row)} & set(row.more)  # they become keys beside these
    json.dumps(row.more, allow_nan=False)
    assert len(table([dataclasses.asdict(row)]).splitlines()) == 3


@pytest.mark.parametrize(("module", "rows"), benchmark.MODULES.items(), ids=str)
def test_rows(module: str, rows: tuple[int, ...]) -> None:
    found = module_of(module).measure("smoke")
    for row in found:
        check_row(row, rows)
    assert {row.row for row in found} == set(rows)


@pytest.mark.parametrize(("module", "row"), growth.MODULES.items(), ids=str)
def test_growth(module: str, row: int) -> None:
    points = module_of(module).growth("smoke")
    assert points
    for point in points:
        assert isinstance(point, Point)
        assert point.row == row
        assert point.axis
        assert point.side
        for value in (point.size, point.seconds):
            assert math.isfinite(value)
            assert value > 0
    for line in growth.exponents(points):
        assert line["sizes"] >= 2
        assert math.isfinite(line["exponent"])


def test_a_module_writes_its_file_and_the_table_reads_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main(["--module", "evaluation", "--smoke", "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert record["smoke"] is True
    assert {"processor", "cores", "threads"} <= set(record["hardware"])
    assert {"python", "torch", "numpy"} <= set(record["versions"])
    (row,) = record["rows"]
    assert {"row", "name", "ours", "rival", "unit", "ratio", "spread"} <= set(row)
    assert benchmark.load(tmp_path) == [row]
    assert capsys.readouterr().out == ""
