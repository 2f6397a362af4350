"""Partitions know their job; what is not whole or not ours is told apart."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gen_rec.engine import Partitions, partitions
from gen_rec.errors import GenRecError

SCHEMA = pa.schema([pa.field("x", pa.int64())])


def table(*values: int) -> pa.Table:
    return pa.table([list(values)], schema=SCHEMA)


def test_what_is_there_and_what_is_missing(tmp_path: Path) -> None:
    parts = Partitions(tmp_path / "new", "key")
    assert (parts.done(), parts.missing(2), parts.rows()) == ([], [0, 1], 0)
    assert parts.write(1, SCHEMA, [table(1, 2), table(), table(3)]) == 3
    assert parts.write(100_000, SCHEMA, []) == 0
    assert (parts.done(), parts.missing(3), parts.rows()) == ([1, 100_000], [0, 2], 3)
    assert pq.read_table(parts.path(1))["x"].to_pylist() == [1, 2, 3]
    assert Partitions(tmp_path / "new", "other").done() == []


def test_rows_are_gathered_into_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partitions, "GROUP_ROWS", 3)
    parts = Partitions(tmp_path, "key")
    parts.write(0, SCHEMA, [table(1), table(2), table(3, 4), table(5)])
    file = pq.ParquetFile(parts.path(0))
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [4, 1]
    assert file.read()["x"].to_pylist() == [1, 2, 3, 4, 5]


def test_a_partition_is_whole_or_not_there(tmp_path: Path) -> None:
    def broken() -> Iterator[pa.Table]:
        yield table(1)
        raise ZeroDivisionError

    parts = Partitions(tmp_path, "key")
    with pytest.raises(ZeroDivisionError):
        parts.write(0, SCHEMA, broken())
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="schema"):
        parts.write(0, SCHEMA, [pa.table({"y": [1]})])
    assert not list(tmp_path.iterdir())


def test_cleaning_leaves_only_what_is_done(tmp_path: Path) -> None:
    parts, other = Partitions(tmp_path, "key"), Partitions(tmp_path, "other")
    parts.write(0, SCHEMA, [table(1)])
    other.write(1, SCHEMA, [table(1)])
    parts.write(2, SCHEMA, [table(1)])
    parts.path(2).write_bytes(parts.path(2).read_bytes()[:-9])  # a disk that filled up
    (tmp_path / ".part-00003.abc.parquet").write_bytes(b"PAR1")  # a kill while it was written
    (tmp_path / ".nfs01").write_text("not ours, and nobody's business")
    before = parts.path(0).stat().st_ino, parts.path(0).stat().st_mtime_ns
    parts.clean()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".nfs01", "part-00000.parquet"]
    assert before == (parts.path(0).stat().st_ino, parts.path(0).stat().st_mtime_ns)
    Partitions(tmp_path / "none", "key").clean()


@pytest.mark.parametrize("name", ["notes.txt", "part-00001.csv", "part-00001.parquet"])
def test_files_of_others_are_not_touched(tmp_path: Path, name: str) -> None:
    Partitions(tmp_path, "other").write(0, SCHEMA, [table(1)])
    pq.write_table(table(1), tmp_path / name)  # Parquet, but nobody's partition
    with pytest.raises(GenRecError, match=f"{name}: is not a partition that gen_rec wrote"):
        Partitions(tmp_path, "key").clean()
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(GenRecError, match="is a file, partitions need a folder"):
        Partitions(tmp_path / name, "key").clean()
