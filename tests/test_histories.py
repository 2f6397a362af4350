"""Histories from text, a split and Parquet: all are read by ranges of rows, and say where they are wrong."""

import io
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gen_rec import histories as module
from gen_rec.data.interactions import Dataset
from gen_rec.errors import DataError
from gen_rec.histories import HISTORY, SCHEMA, USER_ID, cut, cut_split, open_histories, read_text

TEN = [(f"u{n}", [f"i{m}" for m in range(n)]) for n in range(10)]


def read(text: str) -> list[tuple[str, list[str]]]:
    return list(read_text(io.StringIO(text), "histories.txt"))


def pairs(found: tuple[list[list[str]], list[str]]) -> list[tuple[str, list[str]]]:
    return list(zip(found[1], found[0], strict=True))


def test_histories_in_all_their_forms() -> None:
    objects = '{"user_id": "u", "history": ["c"]}\nd e  f\n{"history": []}\n{"user_id": 7, "history": ["ü"]}'
    assert read(f'["a", "b"]\n\n{objects}\n[]') == [
        ("0", ["a", "b"]), ("u", ["c"]), ("2", ["d", "e", "f"]), ("3", []), ("7", ["ü"]), ("5", []),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["a"]\n\n["b", ]', r"histories.txt, line 3: not JSON \(.*\); give a list of item ids"),
        ('{"user": 1', "histories.txt, line 1: not JSON"),
        ('["a"]\n[1, 2]', r"line 2: expected a list of item ids as strings, .* got \[1, 2\]"),
        ('{"user_id": "u"}', "line 1: expected a list of item ids"),
        ("", "histories.txt: there is no history in it"),
        ("\n  \n", "there is no history in it"),
    ],
)
def test_histories_that_cannot_be_read(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read(text)
    (tmp_path / "histories.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        open_histories(str(tmp_path / "histories.txt"), tmp_path / "cut", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["histories.txt"]


def test_history_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes("a b\nü\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.txt, after line \d: not UTF-8 text"):
        open_histories(str(tmp_path / "latin.txt"), tmp_path / "cut", 2)
    for name in ("none.txt", "none.parquet"):
        with pytest.raises(DataError, match=rf"{name}: cannot be read \(No such file or directory\)"):
            open_histories(str(tmp_path / name), tmp_path / "cut", 2)


@pytest.mark.parametrize("partition_rows", [1, 3, 10, 99])
def test_ranges_of_what_was_cut(tmp_path: Path, partition_rows: int) -> None:
    found = cut(TEN, tmp_path / "cut", partition_rows)
    assert len(found) == 10
    assert len(found.files) == -(-10 // partition_rows)
    for start in range(10):
        for stop in range(start, 11):
            assert pairs(found.read(start, stop)) == TEN[start:stop]
    assert found.key() == cut(iter(TEN), tmp_path / "again", partition_rows).key()
    assert found.key() != cut([*TEN[:-1], ("u9", ["other"])], tmp_path / "again", partition_rows).key()


def test_a_split_is_cut_into_what_its_cases_say(prepared: Path, tmp_path: Path) -> None:
    dataset = Dataset.load(prepared / "data")
    cases, ids = dataset.cases("test"), dataset.item_ids
    expected = [(str(dataset.user_ids[cases.user[i]]), list(ids[cases[i]])) for i in range(len(cases))]
    found = cut_split(dataset, "test", tmp_path / "cut", 50)
    assert [rows for _, rows in found.files] == [50, 50, 20]
    assert pairs(found.read(0, 120)) == expected
    assert pairs(found.read(49, 101)) == expected[49:101]


@pytest.fixture(params=["pyarrow", "polars", "large", "dictionary"])
def parquet(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The ten histories in a folder of two files of several row groups, as different programs write them."""
    folder = tmp_path / "histories"
    folder.mkdir()
    kinds = {"large": pa.large_list(pa.large_string()), "dictionary": pa.list_(pa.dictionary(pa.int8(), pa.string()))}
    for name, some in (("a", TEN[:7]), ("b", TEN[7:])):
        table = pa.table([[user for user, _ in some], [history for _, history in some]], schema=SCHEMA)
        if request.param in kinds:
            table = table.set_column(1, HISTORY, table[HISTORY].cast(kinds[request.param]))
        if request.param == "polars":
            pl.DataFrame(table).write_parquet(folder / f"{name}.parquet", row_group_size=2)
        else:
            pq.write_table(table.append_column("more", pa.array([0] * len(some))), folder / f"{name}.parquet", 3)
    (folder / "_SUCCESS").write_text("")
    return folder


@pytest.mark.parametrize("read_rows", [2, 4096])
def test_parquet_is_read_where_it_lies(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read_rows: int
) -> None:
    monkeypatch.setattr(module, "READ_ROWS", read_rows)
    found = open_histories(str(parquet), tmp_path / "cut", 4)
    assert [rows for _, rows in found.files] == [7, 3]
    assert not (tmp_path / "cut").exists()
    for start in range(10):
        for stop in range(start, 11):
            assert pairs(found.read(start, stop)) == TEN[start:stop]
    alone = open_histories(str(parquet / "b.parquet"), tmp_path / "cut", 4)
    assert pairs(alone.read(0, 3)) == TEN[7:]


def test_users_of_parquet_without_names_have_the_number_of_their_row(tmp_path: Path) -> None:
    histories: dict[str, Any] = {HISTORY: [["a"], ["b"], ["c"]]}
    pl.DataFrame(histories).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({**histories, USER_ID: [None, 7, 8]}).write_parquet(tmp_path / "b.parquet")
    found = open_histories(str(tmp_path), tmp_path / "cut", 4)
    assert found.read(1, 6) == ([["b"], ["c"], ["a"], ["b"], ["c"]], ["1", "2", "3", "7", "8"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"items": [["a"]]}, r"h\.parquet: no column 'history' \(found items\); give one with lists of item ids"),
        ({HISTORY: ["a b"]}, r"h\.parquet: column 'history' is .*string.*; it must be a list of item ids as strings"),
        ({HISTORY: [[1, 2]]}, r"column 'history' is .*int64.*; it must be a list of item ids as strings"),
    ],
)
def test_parquet_of_another_kind(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    pl.DataFrame(columns).write_parquet(tmp_path / "h.parquet")
    with pytest.raises(DataError, match=message):
        open_histories(str(tmp_path / "h.parquet"), tmp_path / "cut", 4)


def test_parquet_without_a_row_or_that_is_none(tmp_path: Path) -> None:
    pq.write_table(SCHEMA.empty_table(), tmp_path / "h.parquet")
    with pytest.raises(DataError, match=r"h\.parquet: there is no history in it"):
        open_histories(str(tmp_path / "h.parquet"), tmp_path / "cut", 4)
    (tmp_path / "h.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match=r"h\.parquet: cannot be read as Parquet"):
        open_histories(str(tmp_path / "h.parquet"), tmp_path / "cut", 4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: there is no \.parquet file in this folder"):
        open_histories(str(tmp_path / "empty"), tmp_path / "cut", 4)


@pytest.mark.parametrize("wrong", [None, ["a", None]])
def test_a_null_is_said_with_file_and_row(tmp_path: Path, wrong: Any) -> None:
    rows = [history for _, history in TEN]
    pl.DataFrame({HISTORY: rows}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({HISTORY: [*rows[:6], wrong, *rows[7:]]}).write_parquet(tmp_path / "b.parquet", row_group_size=4)
    found = open_histories(str(tmp_path), tmp_path / "cut", 4)
    found.read(0, 16)
    with pytest.raises(DataError, match=r"b\.parquet, row 6 \(from 0\): .* without nulls, got .*; write \[\]"):
        found.read(15, 20)
