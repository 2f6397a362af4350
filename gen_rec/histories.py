"""Histories to recommend for, as Parquet files that are read by ranges of rows, however many there are.

What comes as text or from a split is first cut into such files, a partition in memory at a time.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gen_rec.data.interactions import Dataset
from gen_rec.errors import DataError
from gen_rec.files import atomic_path, content_hash, replace_folder

USER_ID, HISTORY = "user_id", "history"
SCHEMA = pa.schema([pa.field(USER_ID, pa.string()), pa.field(HISTORY, pa.list_(pa.string()))])
"""One row a history, oldest item first."""
READ_ROWS = 4096  # decoded at once


@dataclass(frozen=True)
class Histories:
    """Histories in Parquet files, in the order of the files.

    files: path and number of rows of each
    """

    files: tuple[tuple[str, int], ...]

    def __len__(self) -> int:
        return sum(rows for _, rows in self.files)

    def key(self) -> str:
        """Hash of the files' content."""
        return content_hash(*[Path(path) for path, _ in self.files])

    def read(self, start: int, stop: int) -> tuple[list[list[str]], list[str]]:
        """Histories and user ids of rows [start, stop), which may lie in several files.

        A user without an id is called by the number of the row.
        raises DataError with file and row where a history or an item of it is null.
        """
        histories: list[list[str]] = []
        users: list[str] = []
        offset = 0  # of the file's first row among all rows
        for path, rows in self.files:
            for first, batch in _rows(path, start - offset, min(stop - offset, rows)):
                _check_nulls(path, first, batch[HISTORY])
                histories += batch[HISTORY].to_pylist()
                names = batch[USER_ID].to_pylist() if USER_ID in batch.schema.names else [None] * len(batch)
                users += [str(offset + first + i) if name is None else str(name) for i, name in enumerate(names)]
            offset += rows
        return histories, users


def open_histories(source: str, folder: Path, partition_rows: int) -> Histories:
    """Histories of a Parquet file, of a folder of them, of a text file, or of standard input (``-``).

    Text is cut into Parquet files of ``partition_rows`` rows in ``folder``, which then takes the place of what was
    there; Parquet is read where it lies.
    raises DataError where something cannot be read, with file and line.
    """
    path = Path(source)
    if source == "-":
        return cut(read_text(sys.stdin, "standard input"), folder, partition_rows)
    if path.is_dir():
        files = sorted(file for file in path.glob("*.parquet") if not file.name.startswith((".", "_")))
        if not files:
            raise DataError(f"{path}: there is no .parquet file in this folder; give a folder of them, or a file")
        return _open_parquet(files)
    if path.suffix == ".parquet" and path.is_file():
        return _open_parquet([path])
    try:
        with path.open(encoding="utf-8") as file:
            return cut(read_text(file, source), folder, partition_rows)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a file of histories, or -") from error


def read_text(file: IO[str], name: str) -> Iterator[tuple[str, list[str]]]:
    """User and history of each line: JSON (a list of item ids, or ``{"user_id": ..., "history": [...]}``), or item ids
    between blanks. Blank lines are skipped; a user without a name is called by the number of the history, from 0.

    raises DataError with the line.
    """
    count = 0
    for number, line in _numbered(file, name):
        if not line.strip():
            continue
        user, history = str(count), line.split()
        if line.lstrip()[0] in "[{":
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{name}, line {number}: not JSON ({error.msg}); give a list of item ids, an object with "
                    '"user_id" and "history", or ids between blanks'
                ) from error
            if isinstance(value, dict):
                named, value = value.get(USER_ID), value.get(HISTORY)
                user = user if named is None else str(named)
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise DataError(
                    f'{name}, line {number}: expected a list of item ids as strings, as in ["a", "b"] or '
                    f'{{"user_id": "u", "history": ["a", "b"]}}, got {line.strip()[:80]}'
                )
            history = value
        count += 1
        yield user, history
    if not count:
        raise DataError(f"{name}: there is no history in it; give one a line")


def cut(histories: Iterable[tuple[str, list[str]]], folder: Path, partition_rows: int) -> Histories:
    """Write (user, history) pairs into Parquet files of ``partition_rows`` rows each, in ``folder``."""
    pairs = iter(histories)

    def tables() -> Iterator[pa.Table]:
        while some := list(islice(pairs, partition_rows)):
            yield pa.table([[user for user, _ in some], [history for _, history in some]], schema=SCHEMA)

    return _write(tables(), folder)


def cut_split(dataset: Dataset, split: Literal["valid", "test"], folder: Path, partition_rows: int) -> Histories:
    """``cut`` for the histories of a split's cases. raises DataError where it has none."""
    cases = dataset.cases(split)
    if not len(cases):
        raise DataError(f"the {split} split has no interaction; see data.split, or give histories (--histories)")
    items, users = (pa.array(ids, pa.string()) for ids in (dataset.item_ids, dataset.user_ids))

    def tables() -> Iterator[pa.Table]:
        for start in range(0, len(cases), partition_rows):
            stop = min(start + partition_rows, len(cases))
            offsets = cases.offsets[start : stop + 1]
            taken = items.take(pa.array(cases.items[offsets[0] : offsets[-1]]))
            history = pa.ListArray.from_arrays(pa.array((offsets - offsets[0]).astype(np.int32)), taken)
            yield pa.table([users.take(pa.array(cases.user[start:stop])), history], schema=SCHEMA)

    return _write(tables(), folder)


def _write(tables: Iterable[pa.Table], folder: Path) -> Histories:
    files = []
    with replace_folder(folder) as new:
        for number, table in enumerate(tables):
            name = f"{number:05d}.parquet"
            with atomic_path(new / name) as temporary:
                pq.write_table(table, temporary, compression="zstd")
            files.append((str(folder.resolve() / name), len(table)))
    return Histories(tuple(files))


def _open_parquet(paths: list[Path]) -> Histories:
    """The files as they lie. raises DataError where a file is not Parquet or has not the columns."""
    files = []
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                schema, rows = file.schema_arrow, file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: cannot be read as Parquet ({error}); write it again") from error
        if HISTORY not in schema.names:
            raise DataError(
                f"{path}: no column '{HISTORY}' (found {', '.join(schema.names)}); give one with lists of item ids as "
                f"strings, and '{USER_ID}' if users have names"
            )
        kind = schema.field(HISTORY).type
        if not _is_list(kind) or not _is_text(kind.value_type):
            raise DataError(f"{path}: column '{HISTORY}' is {kind}; it must be a list of item ids as strings")
        files.append((str(path.resolve()), rows))
    if not sum(rows for _, rows in files):
        raise DataError(f"{paths[0]}: there is no history in it; give one a row")
    return Histories(tuple(files))


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _rows(path: str, start: int, stop: int) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Rows [start, stop) of a file, as (number of the first row, batch).

    Row groups outside the range are not read; one that overlaps it is decoded ``READ_ROWS`` rows at a time.
    raises DataError where the file is damaged.
    """
    start = max(start, 0)
    if start >= stop:
        return
    try:
        with pq.ParquetFile(path) as file:
            columns = [name for name in (USER_ID, HISTORY) if name in file.schema_arrow.names]
            at = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if at >= stop or at + rows <= start:
                    at += rows
                    continue
                for batch in file.iter_batches(READ_ROWS, row_groups=[group], columns=columns):
                    first, last = max(start, at), min(stop, at + len(batch))
                    if first < last:
                        yield first, batch.slice(first - at, last - first)
                    at += len(batch)
                    if at >= stop:
                        return
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: rows {start} to {stop - 1} cannot be read ({error}); write the file again") from error


def _check_nulls(path: str, first: int, column: Any) -> None:
    """raises DataError where a list, or an item in one, is null. first: number of the column's first row"""
    items = pc.list_flatten(column)
    if not column.null_count and not items.null_count:
        return
    for i, history in enumerate(column.to_pylist()):
        if history is None or None in history:
            found = "null" if history is None else str(history)[:80]
            raise DataError(
                f"{path}, row {first + i} (from 0): column '{HISTORY}' must be a list of item ids without nulls, got "
                f"{found}; write [] for a user without a history, and leave out items without an id"
            )


def _numbered(file: IO[str], name: str) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        for number, line in enumerate(file, 1):
            yield number, line
    except UnicodeDecodeError as error:
        raise DataError(f"{name}, after line {number}: not UTF-8 text ({error.reason}); convert it") from error
