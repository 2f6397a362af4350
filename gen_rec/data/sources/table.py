"""Anyone's interactions, and items where there are any, as CSV or Parquet tables."""

import csv
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import polars as pl

from gen_rec.data import columns as c
from gen_rec.data.config import DataConfig, TableConfig
from gen_rec.data.lines import read_lines
from gen_rec.data.sources.raw import RawData
from gen_rec.data.sources.timestamps import parse_timestamps, whole_timestamps
from gen_rec.errors import DataError

logger = logging.getLogger(__name__)

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
T = TypeVar("T")
_YEAR_10000 = 253_402_300_800
_ID_TYPES = (pl.String, pl.Categorical, pl.Enum)


def read_table(config: DataConfig, folder: Path | None) -> RawData:
    """Read ``data.table.interactions`` and ``data.table.items``.

    folder:  the set's folder, where relative names are looked for first and where ``interactions.*`` and
             ``items.*`` are the defaults; None where the config names the files themselves
    returns  interactions as a LazyFrame: nothing but the checks has read the file yet
    raises   DataError, with file and line or row, for a missing file or column, a missing id, a timestamp
             that is missing or no time, ids of two types, text that is not UTF-8 and broken files.
    """
    table = config.table
    path = find_table(table.interactions, folder, "interactions")
    if path is None:
        raise DataError(
            f"{folder}: there is no file interactions{', interactions'.join(SUFFIXES)}; put it there, "
            "or name it in data.table.interactions"
        )
    interactions, item_type = _interactions(path, table)
    items_path = find_table(table.items, folder, "items")
    items = None
    if items_path is not None:
        items = _items(items_path, table, item_type, path)
    return RawData(
        interactions=interactions,
        items=items,
        description=f"tables {path.name}" + (f" and {items_path.name}" if items_path else ""),
        origins=(str(path), str(items_path or path)),
        locate=_locator(path, table),
        locate_item=_locator(items_path, table) if items_path else None,
    )


def find_table(name: str | None, folder: Path | None, kind: str) -> Path | None:
    if name is None:
        candidates = [folder / f"{kind}{suffix}" for suffix in SUFFIXES] if folder else []
        return next((path for path in candidates if path.is_file()), None)
    places = [place / Path(name).expanduser() for place in (folder, Path()) if place is not None]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise DataError(
            f"data.table.{kind}: there is no file {' or '.join(map(str, places))}; put it there or correct the name"
        )
    if not found.name.endswith(SUFFIXES):
        raise DataError(f"data.table.{kind}: {found} ends in none of {', '.join(SUFFIXES)}; rename or convert the file")
    return found


def _interactions(path: Path, table: TableConfig) -> tuple[pl.LazyFrame, pl.DataType]:
    """The three columns, checked; and the type that item ids have in the file."""
    frame, schema = _scan(path, table)
    wanted = {
        "user_column": table.user_column,
        "item_column": table.item_column,
        "timestamp_column": table.timestamp_column,
    }
    for setting, name in wanted.items():
        if name not in schema:
            raise _no_column(path, name, f"data.table.{setting}", schema)
    _id_type(path, table.user_column, schema[table.user_column])
    item_type = _id_type(path, table.item_column, schema[table.item_column])
    raw_time, time_type = pl.col(table.timestamp_column), schema[table.timestamp_column]
    for times in (whole_timestamps(raw_time, time_type, table), parse_timestamps(path, raw_time, time_type, table)):
        if times is None:
            continue
        lazy = frame.select(
            pl.col(table.user_column).cast(pl.String).alias(c.USER_ID),
            pl.col(table.item_column).cast(pl.String).alias(c.ITEM_ID),
            times.alias(c.TIMESTAMP),
            raw_time.alias("raw"),
        )
        found = _reading(path, table, partial(_suspect, lazy))
        if not len(found):
            break
    else:
        raise _bad_row(path, table, found.row(0, named=True))
    return lazy.drop("raw"), item_type


def _suspect(lazy: pl.LazyFrame) -> pl.DataFrame:
    """The first row without an id or a time, or with a time that cannot be."""
    empty = [pl.col(name).is_null() | (pl.col(name) == "") for name in (c.USER_ID, c.ITEM_ID)]
    far = pl.col(c.TIMESTAMP).abs() > _YEAR_10000
    suspects = lazy.with_row_index("row").filter(pl.any_horizontal(*empty, pl.col(c.TIMESTAMP).is_null(), far)).head(1)
    return suspects.collect(engine="streaming")


def _bad_row(path: Path, table: TableConfig, row: dict[str, object]) -> DataError:
    place = f"{path}, {_locator(path, table)(int(str(row['row'])))}"
    for name, column in ((c.USER_ID, table.user_column), (c.ITEM_ID, table.item_column)):
        if not row[name]:
            return DataError(f"{place}: {column} is empty, expected an id; fill it in or remove the row")
    column, found = table.timestamp_column, row["raw"]
    if found is None or found == "":
        return DataError(f"{place}: {column} is empty, expected a time; fill it in or remove the row")
    if row[c.TIMESTAMP] is None:
        return DataError(
            f"{place}: {column} is {found!r}, expected a number in {table.timestamp_unit} since 1970 or an "
            "ISO-8601 date or time such as 2019-01-31T18:00:00Z; mend or remove the row"
        )
    return DataError(
        f"{place}: {column} is {found!r}, which lies beyond the year 9999 in the unit "
        f"{table.timestamp_unit!r}; set data.table.timestamp_unit (ms, us or ns?)"
    )


def _items(path: Path, table: TableConfig, item_type: pl.DataType, interactions: Path) -> pl.DataFrame:
    """All columns of the items table that are text, lists of text, numbers or dates; as String or lists."""
    frame, schema = _scan(path, table)
    name = table.items_id_column or table.item_column
    if name not in schema:
        raise _no_column(path, name, "data.table.items_id_column", schema)
    own_type = _id_type(path, name, schema[name])
    typed = path.suffix == ".parquet" and interactions.suffix == ".parquet"
    if typed and own_type.is_integer() != item_type.is_integer():
        raise DataError(
            f"{path}: {name} is {own_type}, but {table.item_column} of {interactions} is {item_type}; write "
            "both with the same type, as text where ids have leading zeros or letters"
        )
    kept = [pl.col(name).cast(pl.String).alias(c.ITEM_ID)]
    for column, dtype in schema.items():
        if column in (name, c.ITEM_ID):
            continue
        if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.List | pl.String):
            kept.append(pl.col(column))
        elif dtype.is_nested() or dtype in (pl.Binary, pl.Object):
            logger.warning(
                "%s: the column %s (%s) is neither text nor a list of text; it is left out",
                path,
                column,
                dtype,
            )
        else:
            kept.append(pl.col(column).cast(pl.String))
    items = _reading(path, table, lambda: frame.select(kept).collect())
    empty = items[c.ITEM_ID].is_null() | (items[c.ITEM_ID] == "")
    if empty.any():
        place = _locator(path, table)(int(empty.arg_max() or 0))
        raise DataError(f"{path}, {place}: {name} is empty, expected an id; fill it in or remove the row")
    return items


def _scan(path: Path, table: TableConfig) -> tuple[pl.LazyFrame, dict[str, pl.DataType]]:
    """A table not read yet, and the types of its columns: all String in a CSV, so that 007 stays 007."""
    if path.suffix == ".parquet":
        frame = pl.scan_parquet(path)
    else:
        frame = pl.scan_csv(path, separator=_separator(path, table), infer_schema=False)
    return frame, dict(_reading(path, table, frame.collect_schema))


def _separator(path: Path, table: TableConfig) -> str:
    return table.separator or ("\t" if path.name.removesuffix(".gz").endswith(".tsv") else ",")


def _reading(path: Path, table: TableConfig, read: Callable[[], T]) -> T:
    """Read, and where that fails say why: the text is looked through for what is wrong with it."""
    try:
        return read()
    except (pl.exceptions.PolarsError, OSError) as error:
        if path.suffix != ".parquet":
            for _ in _records(path, table):
                pass
        reason = str(error).split("\n")[0]
        raise DataError(f"{path}: cannot be read ({reason}); mend the file or write it again") from error


def _records(path: Path, table: TableConfig) -> Iterator[tuple[int, list[str]]]:
    """Last line and fields of each record of a CSV, for error messages."""
    rows = csv.reader((text + "\n" for _, text in read_lines(path)), delimiter=_separator(path, table))
    width = 0
    for fields in rows:
        if not fields and not width:  # polars skips empty lines before the header only
            continue
        width = width or len(fields)
        if len(fields) > width:
            raise DataError(
                f"{path}, line {rows.line_num}: found {len(fields)} fields, expected {width} as in the "
                "header; quote text that holds the separator"
            )
        yield rows.line_num, fields


def _locator(path: Path, table: TableConfig) -> Callable[[int], str]:
    """The place of a row (from 0): its line in a CSV, whose quoted text may span lines, else its row."""

    def locate(row: int) -> str:
        if path.suffix != ".parquet":
            for index, (line, _) in enumerate(_records(path, table)):
                if index == row + 1:  # after the header
                    return f"line {line}"
        return f"row {row + 1}"

    return locate


def _id_type(path: Path, name: str, dtype: pl.DataType) -> pl.DataType:
    if dtype.is_integer() or dtype in _ID_TYPES:
        return dtype
    hint = "; numbers with a fraction come from missing ids, look for empty ones" if dtype.is_float() else ""
    raise DataError(
        f"{path}: {name} is {dtype}, expected text or integers{hint}; write the ids of the "
        "column with one type, as text"
    )


def _no_column(path: Path, name: str, setting: str, schema: dict[str, pl.DataType]) -> DataError:
    return DataError(f"{path}: no column {name!r} (found {', '.join(schema)}); rename it or set {setting}")
