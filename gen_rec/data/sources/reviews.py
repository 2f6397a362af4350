"""Reviews (who, what, when) out of files of any size, a block of lines at a time.

A block is read by polars, which is five times as fast as ``json`` and as strict. Only a block that polars
refuses, or in which something is missing, is read again line by line: to forgive what is harmless (a number
as text), and to name the line of what is not.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl
from polars.exceptions import PolarsError
from tqdm import tqdm

from gen_rec.data.config import DataConfig
from gen_rec.data.lines import block_lines, is_gzip
from gen_rec.errors import DataError

PIECE_BYTES = 1 << 20
BLOCK_BYTES = 1 << 25
SCHEMA = {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}
UNITS_PER_SECOND = {"s": 1, "ms": 1000, "date": 1}


@dataclass(frozen=True)
class ReviewFields:
    """What a layout calls the fields of a review (JSON keys, or columns of a CSV file)."""

    user: str
    item: str
    time: str
    rating: str
    clock: Literal["s", "ms", "date"]
    """``s`` and ``ms``: integers since 1970-01-01 UTC; ``date``: ``2019-03-01`` or ``2019-03-01 12:30:00``,
    taken as UTC."""


def read_reviews(paths: Sequence[Path], fields: ReviewFields, config: DataConfig) -> pl.DataFrame:
    """Read review files (JSON lines or CSV with a header; gzipped or not) one after the other.

    Of ``config`` this uses ``min_rating`` and the date window.

    returns ``user_id`` String, ``item_id`` String, ``timestamp`` Int64 (Unix seconds) in input order. Where
            the source counts milliseconds, rows come in order of time instead, since cutting to seconds would
            lose that order.
    raises  DataError, naming file and line, for what cannot be read, and when nothing is left.
    """
    frames: list[pl.DataFrame] = []
    n_read, first, last = 0, None, None
    start, end = config.window
    unit = UNITS_PER_SECOND[fields.clock]
    for path in paths:
        for frame in _review_blocks(path, fields, with_rating=config.min_rating is not None):
            if not len(frame):
                continue
            n_read += len(frame)
            low, high = frame["timestamp"].min(), frame["timestamp"].max()
            first = low if first is None else min(first, low)  # type: ignore[type-var]
            last = high if last is None else max(last, high)  # type: ignore[type-var]
            if config.min_rating is not None:
                frame = frame.filter(pl.col("rating") >= config.min_rating)
            if start is not None:
                frame = frame.filter(pl.col("timestamp") >= start * unit)
            if end is not None:
                frame = frame.filter(pl.col("timestamp") < end * unit)
            frames.append(frame.select(*SCHEMA))
    names = ", ".join(str(path) for path in paths)
    if first is None or last is None:
        raise DataError(f"{names}: there is no review in it; download or copy the file again")
    reviews = pl.concat(frames)
    if not len(reviews):
        raise DataError(
            f"{names}: none of the {n_read:,} reviews ({_day(first, unit)} to {_day(last, unit)}) is left "
            f"with data.min_rating {config.min_rating}, data.date_from {config.date_from} and data.date_to "
            f"{config.date_to}; widen them"
        )
    if fields.clock == "ms":
        reviews = reviews.sort("timestamp", maintain_order=True)
        reviews = reviews.with_columns(pl.col("timestamp") // UNITS_PER_SECOND["ms"])
    return reviews


def line_blocks(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Give ``(number of the first line, its byte offset, whole lines)`` for one block after the other.

    A terminal shows a progress bar. Line numbers count from 1; offsets count from 0 in the unzipped file.
    raises DataError for a gzip file that is truncated or broken.
    """
    number, offset, rest = 1, 0, b""
    with (
        path.open("rb") as file,
        tqdm(
            total=path.stat().st_size,
            desc=path.name,
            unit="B",
            unit_scale=True,
            leave=False,
            disable=None,
        ) as bar,
    ):
        stream = gzip.GzipFile(fileobj=file) if is_gzip(path) else file
        ended = False
        while not ended:
            block = bytearray(rest)
            try:
                while len(block) - len(rest) < BLOCK_BYTES:
                    piece = stream.read(PIECE_BYTES)
                    if not piece:
                        ended = True
                        break
                    block += piece
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                whole = number - 1 + block.count(b"\n")
                raise DataError(
                    f"{path}: the gzip file is truncated or broken after line {whole} ({error}); "
                    "download or copy it again"
                ) from error
            bar.update(file.tell() - bar.n)
            cut = len(block) if ended else block.rfind(b"\n") + 1
            rest, lines = bytes(block[cut:]), bytes(block[:cut])
            if lines:
                yield number, offset, lines
            number += lines.count(b"\n")
            offset += cut


def _review_blocks(path: Path, fields: ReviewFields, with_rating: bool) -> Iterator[pl.DataFrame]:
    """Frames of user_id, item_id, timestamp (in the units of the source) and, if wanted, rating Float64."""
    is_csv = ".csv" in path.suffixes
    names = [fields.user, fields.item, fields.time] + ([fields.rating] if with_rating else [])
    header: list[str] = []
    for number, offset, block in line_blocks(path):
        if is_csv and not header:
            first, _, block = block.partition(b"\n")
            header = _csv_header(path, first, names)
            number, offset = number + 1, offset + len(first) + 1
        frame = _read_csv(block, header, names) if is_csv else _read_ndjson(block, names, fields.clock)
        yield frame if frame is not None else _read_slowly(path, number, offset, block, header, names, fields)


def _read_ndjson(block: bytes, names: list[str], clock: str) -> pl.DataFrame | None:
    """The fast way through a block of JSON lines; None when anything about it is unusual."""
    kinds = [pl.String, pl.String, pl.String if clock == "date" else pl.Int64, pl.Float64]
    try:
        frame = pl.read_ndjson(io.BytesIO(block), schema=dict(zip(names, kinds, strict=False)))
    except PolarsError:
        return None
    frame.columns = [*SCHEMA, "rating"][: len(names)]
    if clock == "date":
        moment = pl.coalesce(
            pl.col("timestamp").str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False),
            pl.col("timestamp").str.to_datetime("%Y-%m-%d", strict=False),
        )
        frame = frame.with_columns(timestamp=moment.dt.epoch("s"))
    return _if_whole(frame)


def _read_csv(block: bytes, header: list[str], names: list[str]) -> pl.DataFrame | None:
    """The fast way through a block of CSV rows; None when anything about it is unusual."""
    if not block.strip():
        return pl.DataFrame(schema={**SCHEMA, "rating": pl.Float64})
    kinds = dict(zip(names, [*SCHEMA.values(), pl.Float64], strict=False))
    try:
        schema = {name: kinds.get(name, pl.String) for name in header}
        frame = pl.read_csv(io.BytesIO(block), has_header=False, schema=schema)
    except PolarsError:
        return None
    frame = frame.select(names)
    frame.columns = [*SCHEMA, "rating"][: len(names)]
    return _if_whole(frame)


def _if_whole(frame: pl.DataFrame) -> pl.DataFrame | None:
    """The frame, or None when a value is missing or an id is empty."""
    missing = sum(frame.null_count().row(0)) + sum((frame[name] == "").sum() for name in ("user_id", "item_id"))
    return None if missing else frame


def _csv_header(path: Path, line: bytes, names: list[str]) -> list[str]:
    header = next(csv.reader([line.decode("utf-8", "replace").removeprefix("\ufeff").strip()]), [])
    absent = [name for name in names if name not in header]
    if absent:
        raise DataError(
            f"{path}, line 1: no column {', '.join(map(repr, absent))} among {header}; expected a header "
            f"with {', '.join(names)}"
        )
    return header


def _read_slowly(
    path: Path,
    number: int,
    offset: int,
    block: bytes,
    header: list[str],
    names: list[str],
    fields: ReviewFields,
) -> pl.DataFrame:
    """Read a block line by line; raises DataError at the first line that cannot be used."""
    rows: list[tuple[Any, ...]] = []
    for line, text in block_lines(path, number, offset, block):
        where = f"{path}, line {line}"
        review = _csv_object(where, text, header) if header else json_object(where, text)
        absent = [name for name in names if review.get(name) is None or review[name] == ""]
        if absent:
            raise DataError(
                f"{where}: no value for {', '.join(map(repr, absent))} among {sorted(review)}; "
                "every review needs it, mend or remove the line"
            )
        row: list[Any] = [_identifier(where, name, review[name]) for name in names[:2]]
        row.append(_time(where, fields, review[fields.time]))
        row += [_rating(where, name, review[name]) for name in names[3:]]
        rows.append(tuple(row))
    schema = dict(zip([*SCHEMA, "rating"], [*SCHEMA.values(), pl.Float64], strict=True))
    return pl.DataFrame(rows, schema={name: schema[name] for name in [*schema][: len(names)]}, orient="row")


def json_object(where: str, text: str) -> dict[str, Any]:
    """Read one line of JSON that must be an object; ``where`` (file and line) starts the DataError if not."""
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DataError(
            f"{where}: not JSON ({error}), found {shorten(text)}; expected one object a line. If it is the "
            "last line, the file was cut: download or copy it again. Else mend or remove the line"
        ) from None
    if not isinstance(value, dict):
        raise DataError(f"{where}: found {shorten(text)}, expected a JSON object; mend or remove the line")
    return value


def kept_place(row: int) -> str:
    """What to call row ``row`` (from 0) of ``read_reviews``, whose line is not kept."""
    return f"review {row + 1} of those kept"


def shorten(text: str, length: int = 60) -> str:
    """A quoted beginning of ``text``, for error messages."""
    return repr(text if len(text) <= length else text[:length] + "…")


def _csv_object(where: str, text: str, header: list[str]) -> dict[str, Any]:
    row = next(csv.reader([text]))
    if len(row) != len(header):
        raise DataError(
            f"{where}: {len(row)} values, found {shorten(text)}; expected {len(header)} "
            f"({', '.join(header)}). If it is the last line, the file was cut: download or copy it again. "
            "Else mend or remove the line"
        )
    return dict(zip(header, row, strict=True))


def _identifier(where: str, name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise DataError(f"{where}: {name!r} is {shorten(repr(value))}; expected text, mend or remove the line")


def _time(where: str, fields: ReviewFields, value: Any) -> int:
    try:
        if fields.clock == "date":
            return int(datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp())
        time = int(value) if not isinstance(value, float) else value
        if isinstance(value, bool) or time != int(time) or abs(time) >= 2**63:
            raise ValueError
        return int(time)
    except (ValueError, TypeError, OverflowError):
        expected = {
            "s": "whole seconds since 1970",
            "ms": "whole milliseconds since 1970",
            "date": "a date such as '2019-03-01 12:30:00'",
        }[fields.clock]
        raise DataError(
            f"{where}: {fields.time!r} is {shorten(repr(value))}; expected {expected}, mend or remove the line"
        ) from None


def _rating(where: str, name: str, value: Any) -> float:
    try:
        return float(value)
    except (ValueError, TypeError):
        raise DataError(
            f"{where}: {name!r} is {shorten(repr(value))}; expected a number, mend or remove the line"
        ) from None


def _day(time: Any, unit: int) -> str:
    return datetime.fromtimestamp(time / unit, UTC).strftime("%Y-%m-%d")
