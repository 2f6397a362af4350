"""Times in any of the usual spellings as Unix seconds."""

from pathlib import Path

import polars as pl

from gen_rec.data.config import TableConfig
from gen_rec.errors import DataError

UNITS_A_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def whole_timestamps(column: pl.Expr, dtype: pl.DataType, table: TableConfig) -> pl.Expr | None:
    """An expression for Unix seconds that knows text of whole numbers only, and takes a tenth of the time.

    It is null where the text is anything else, and otherwise what ``parse_timestamps`` gives; None where the
    column is not text.
    """
    if dtype != pl.String:
        return None
    unit = UNITS_A_SECOND[table.timestamp_unit]
    whole = column.cast(pl.Int64, strict=False)
    return whole if unit == 1 else whole.floordiv(unit)


def parse_timestamps(path: Path, column: pl.Expr, dtype: pl.DataType, table: TableConfig) -> pl.Expr:
    """An expression for Unix seconds, Int64; null where the value is missing or is no time.

    Numbers count ``table.timestamp_unit`` since 1970-01-01 UTC, fractions are rounded down. Text holds such a
    number or an ISO-8601 date or time; a time without a zone is UTC. Dates and times of Parquet are taken as
    they are.
    raises DataError for a column of any other type.
    """
    unit = UNITS_A_SECOND[table.timestamp_unit]
    if dtype == pl.String:
        text = column.str.strip_chars()
        whole = text.cast(pl.Int64, strict=False)
        words = pl.when(whole.is_null()).then(text)  # the slow readings see nulls where this one succeeded
        number = _seconds(whole, words.cast(pl.Float64, strict=False), unit)
        return pl.coalesce(number, _iso(words))
    if dtype.is_integer():
        return column.cast(pl.Int64).floordiv(unit)
    if dtype.is_float() or dtype.is_decimal():
        return _seconds(None, column.cast(pl.Float64), unit)
    if dtype == pl.Date or isinstance(dtype, pl.Datetime):
        return column.cast(pl.Datetime("us", getattr(dtype, "time_zone", None))).dt.epoch("s")
    raise DataError(
        f"{path}: {table.timestamp_column} is {dtype}, expected numbers, dates, times or ISO-8601 text; "
        "convert the column"
    )


def _seconds(whole: pl.Expr | None, number: pl.Expr, unit: int) -> pl.Expr:
    """Whole numbers without a detour through floats, which hold nanoseconds only to about 200."""
    real = (number / unit).floor()
    real = pl.when(real.is_finite() & (real.abs() < 2**62)).then(real).cast(pl.Int64, strict=False)
    return real if whole is None else pl.coalesce(whole.floordiv(unit), real)


def _iso(text: pl.Expr) -> pl.Expr:
    """Bring every spelling to ``2019-01-31T18:00:00`` and a zone: one format is read faster than many."""
    zone = pl.when(text.str.len_bytes() > 10).then(text.str.extract(r"([zZ]|[+-]\d\d(?::?\d\d)?)$"))
    local = text.str.strip_suffix(zone.fill_null("")).str.replace(" ", "T", literal=True)
    full = (
        pl.when(local.str.len_bytes() == 10)
        .then(local + "T00:00:00")
        .when(local.str.len_bytes() == 16)
        .then(local + ":00")
        .otherwise(local)
    )
    moment = full.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us").dt.epoch("s")
    return moment - _offset(zone)


def _offset(zone: pl.Expr) -> pl.Expr:
    """Seconds east of Greenwich: 0 without a zone and for Z, null for a zone that cannot be."""
    digits = zone.str.replace(":", "", literal=True)
    hours = digits.str.slice(1, 2).cast(pl.Int64, strict=False)
    minutes = digits.str.slice(3, 2).cast(pl.Int64, strict=False).fill_null(0)
    seconds = pl.when((hours < 24) & (minutes < 60)).then(hours * 3600 + minutes * 60)
    return (
        pl.when(zone.is_null() | zone.is_in(["z", "Z"]))
        .then(0)
        .when(zone.str.starts_with("-"))
        .then(-seconds)
        .otherwise(seconds)
    )
