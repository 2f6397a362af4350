"""Ratings of books out of the UCSD Goodreads files, a block of lines at a time.

Two layouts are known, both gzipped or not:

    JSON lines  ``goodreads_interactions_*.json``, ``goodreads_reviews_*.json``: ``user_id``, ``book_id``, ``rating``,
                and dates such as ``Thu Aug 17 15:15:28 -0700 2017``
    CSV         ``goodreads_interactions.csv``: ``user_id,book_id,is_read,rating,is_reviewed``, with ids of its own
                (``book_id_map.csv``) and no date

A rating is 1 to 5; 0 stands for a book on a shelf that was not rated.
"""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from polars.exceptions import PolarsError

from gen_rec.data.lines import block_lines
from gen_rec.data.sources.reviews import json_object, line_blocks, shorten
from gen_rec.errors import DataError
from gen_rec.impressions.config import GoodreadsConfig

DATE = "%a %b %d %H:%M:%S %z %Y"
SCHEMA = {"user_id": pl.String, "book_id": pl.String, "rating": pl.Float64, "date": pl.String}
CSV_COLUMNS = ("user_id", "book_id", "rating")


@dataclass(frozen=True)
class Ratings:
    """What was liked and disliked.

    frame: user_id and book_id String, label Int8 (1 above the one limit, 0 below the other), and time Int64 (Unix
           seconds; null throughout where the file has no dates); in the order of the file
    counts: ratings that were left out, by reason
    """

    frame: pl.DataFrame
    counts: dict[str, int]

    @property
    def dated(self) -> bool:
        """Whether the file says when."""
        return self.frame["time"].null_count() < len(self.frame)


def read_ratings(path: Path, config: GoodreadsConfig) -> Ratings:
    """Read the ratings that are positive or negative. raises DataError, naming file and line, or if there is none."""
    counts = {"lines": 0, "not rated": 0, "neither liked nor disliked": 0, "without a date": 0}
    frames = []
    is_csv = ".csv" in path.suffixes
    for frame in _csv_blocks(path) if is_csv else _json_blocks(path, config.time):
        counts["lines"] += len(frame)
        rating = frame["rating"]
        wrong = ~rating.is_between(0, 5)
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            raise DataError(
                f"{path}, line {frame['line'][row]}: a rating of {rating[row]:g}; expected 0 (not rated) to 5, mend or "
                "remove the line"
            )
        liked = rating > config.positive_above
        disliked = (rating < config.negative_below) & (rating > 0)
        counts["not rated"] += int((rating == 0).sum())
        counts["neither liked nor disliked"] += int((~liked & ~disliked & (rating > 0)).sum())
        frame = frame.with_columns(label=liked.cast(pl.Int8)).filter(liked | disliked)
        if not is_csv:
            counts["without a date"] += int((frame["date"] == "").sum())
            frame = frame.filter(pl.col("date") != "")
            frame = frame.with_columns(time=frame["date"].str.to_datetime(DATE, strict=False).dt.epoch("s"))
            _check_dates(path, frame, config.time)
        else:
            frame = frame.with_columns(time=pl.lit(None, pl.Int64))
        frames.append(frame.select("user_id", "book_id", "label", "time"))
    if not sum(map(len, frames)):
        raise DataError(
            f"{path}: none of {counts['lines']} lines is a rating above {config.positive_above:g} or below "
            f"{config.negative_below:g}{' with a date' * (not is_csv)}; impressions need both"
        )
    return Ratings(pl.concat(frames), counts)


def _json_blocks(path: Path, date: str) -> Iterator[pl.DataFrame]:
    """Columns of SCHEMA and the number of the "line", for each block."""
    names = ["user_id", "book_id", "rating", date]
    kinds: dict[str, Any] = dict(zip(names, SCHEMA.values(), strict=True))
    for number, offset, block in line_blocks(path):
        try:
            frame = pl.read_ndjson(io.BytesIO(block), schema=kinds).with_row_index("line", number)
            empty = sum(frame.null_count().row(0)) + sum((frame[name] == "").sum() for name in names[:2])
            usual = not empty and len(frame) == len(block.splitlines())
        except PolarsError:
            usual = False
        if not usual:  # the slow way forgives what is harmless, skips blank lines, and says where the rest is
            rows = list(_json_rows(path, number, offset, block, names))
            frame = pl.DataFrame(rows, schema={"line": pl.UInt32} | kinds, orient="row")
        yield frame.rename({date: "date"})


def _json_rows(path: Path, number: int, offset: int, block: bytes, names: list[str]) -> Iterator[tuple[Any, ...]]:
    """The lines of a block one by one; raises DataError at the first that cannot be used."""
    for line, text in block_lines(path, number, offset, block):
        where = f"{path}, line {line}"
        row = json_object(where, text)
        user, book, rating, date = (row.get(name) for name in names)
        for name, value in zip(names[:2], (user, book), strict=True):
            if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
                raise DataError(f"{where}: {name!r} is {value!r}; every rating needs it, mend or remove the line")
        if isinstance(rating, bool) or not isinstance(rating, int | float):
            raise DataError(f"{where}: 'rating' is {rating!r}; expected a number from 0 to 5, mend or remove the line")
        if names[3] not in row:
            raise DataError(f"{where}: no {names[3]!r} among {sorted(row)}; choose another date by goodreads.time")
        yield line, str(user), str(book), float(rating), str(date or "")


def _check_dates(path: Path, frame: pl.DataFrame, name: str) -> None:
    if frame["time"].null_count():
        row = int(frame["time"].is_null().arg_max() or 0)
        raise DataError(
            f"{path}, line {frame['line'][row]}: {name} is {shorten(frame['date'][row])}; expected a date such as "
            "'Thu Aug 17 15:15:28 -0700 2017', mend or remove the line"
        )


def _csv_blocks(path: Path) -> Iterator[pl.DataFrame]:
    """Columns of CSV_COLUMNS and the number of the "line", for each block."""
    header: list[str] = []
    for number, _, block in line_blocks(path):
        if not header:
            first, _, block = block.partition(b"\n")
            header = next(csv.reader([first.decode("utf-8", "replace").removeprefix("\ufeff").strip()]), [])
            absent = [name for name in CSV_COLUMNS if name not in header]
            if absent:
                raise DataError(
                    f"{path}, line 1: no column {', '.join(map(repr, absent))} among {header}; expected "
                    "user_id,book_id,is_read,rating,is_reviewed"
                )
            number += 1
        if not block.strip():
            continue
        kinds = {name: pl.Float64 if name == "rating" else pl.String for name in header}
        try:
            frame = pl.read_csv(io.BytesIO(block), has_header=False, schema=kinds).select(CSV_COLUMNS)
        except PolarsError as error:
            raise DataError(
                f"{path}, in the block from line {number}: {str(error).splitlines()[0]}; expected rows of "
                f"{','.join(header)}, mend or remove the line"
            ) from None
        if sum(frame.null_count().row(0)):
            row = int(frame.select(pl.any_horizontal(pl.all().is_null())).to_series().arg_max() or 0)
            raise DataError(
                f"{path}, line {number + row}: no value for one of {', '.join(CSV_COLUMNS)}; mend or remove the line"
            )
        yield frame.with_row_index("line", number)
