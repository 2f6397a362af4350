"""Anyone's tables: ids stay what they are, times of every spelling, and where a bad cell is."""

import gzip
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_rec.data.config import DataConfig, TableConfig
from gen_rec.data.sources.table import read_table
from gen_rec.data.sources.timestamps import parse_timestamps
from gen_rec.errors import DataError


def read(folder, **settings):
    raw = read_table(DataConfig(table=TableConfig(**settings)), folder)
    return raw.interactions.collect().rows(), raw


def parse(values: pl.Series, unit: str = "s") -> list[int | None]:
    expression = parse_timestamps("t.csv", pl.col("t"), values.dtype, TableConfig(timestamp_unit=unit))
    return pl.DataFrame({"t": values}).select(expression)["t"].to_list()


def test_csv_ids_are_text(tmp_path):
    (tmp_path / "interactions.csv").write_text("timestamp,item_id,extra,user_id\n5,007,x,01\n6,7,y,1\n")
    assert read(tmp_path)[0] == [("01", "007", 5), ("1", "7", 6)]


def test_names_of_columns_and_files(tmp_path):
    (tmp_path / "clicks.tsv.gz").write_bytes(gzip.compress(b"who\twhat\twhen\nu\ta\t2019-01-01\n"))
    (tmp_path / "goods.csv").write_text("sku;title;text\na;A;about a\nb;B;\n")
    settings = {"interactions": "clicks.tsv.gz", "user_column": "who", "item_column": "what"}
    rows, _ = read(tmp_path, timestamp_column="when", **settings)
    assert rows == [("u", "a", 1_546_300_800)]
    (tmp_path / "clicks.csv").write_text("who;what;when\nu;a;1\n")
    settings |= {"interactions": "clicks.csv", "items": "goods.csv", "items_id_column": "sku"}
    settings["separator"] = ";"
    rows, raw = read(tmp_path, timestamp_column="when", **settings)
    assert rows == [("u", "a", 1)]
    assert raw.items.to_dict(as_series=False) == {
        "item_id": ["a", "b"],
        "title": ["A", "B"],
        "text": ["about a", None],
    }


def test_parquet(tmp_path):
    moments = [datetime(2019, 1, 1, tzinfo=UTC), datetime(2019, 1, 1, 1, 0, 0, 900_000, tzinfo=UTC)]
    frame = pl.DataFrame({"user_id": [1, 2], "item_id": [10, 11], "timestamp": moments})
    frame.write_parquet(tmp_path / "interactions.parquet")
    items = pl.DataFrame({"item_id": [10, 11], "title": ["A", "B"], "tags": [["x", "y"], []]})
    items = items.with_columns(year=pl.Series([1999, None]))
    items.with_columns(blob=pl.struct("year")).write_parquet(tmp_path / "items.parquet")
    rows, raw = read(tmp_path)
    assert rows == [("1", "10", 1_546_300_800), ("2", "11", 1_546_304_400)]
    assert raw.items.rows() == [("10", "A", ["x", "y"], "1999"), ("11", "B", [], None)]


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_units(unit, factor):
    assert parse(pl.Series([1_546_300_800 * factor, factor - 1, -1]), unit) == [1_546_300_800, 0, -1]
    assert parse(pl.Series([str(1_546_300_800 * factor), str(1.5 * factor)]), unit) == [1_546_300_800, 1]
    assert parse(pl.Series([1_546_300_800.0 * factor, -0.5 * factor]), unit) == [1_546_300_800, -1]


zones = st.one_of(st.none(), st.integers(-14 * 4, 14 * 4).map(lambda q: timezone(timedelta(minutes=15 * q))))


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=zones),
            st.sampled_from(["seconds", "milliseconds", "microseconds", "minutes"]),
            st.sampled_from("T "),
        ),
        min_size=1,
    )
)
def test_iso_text_as_python_reads_it(moments):
    texts = [moment.isoformat(separator, precision) for moment, precision, separator in moments]
    read = [datetime.fromisoformat(text) for text in texts]
    aware = [moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in read]
    seconds = [(moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1) for moment in aware]
    assert parse(pl.Series(texts)) == seconds


SPELLINGS = ["2019-01-01T00:00:00Z", " 2019-01-01 ", "2019-01-01T02:00:00+0200", "1546300800.0"]
NO_TIMES = ["", "x", "2019-13-01", "01/02/2019", "nan", "inf", "2019-01-01T25:00:00", "1e400"]


@pytest.mark.parametrize("text", SPELLINGS)
def test_other_spellings(text):
    assert parse(pl.Series([text])) == [1_546_300_800]


@pytest.mark.parametrize("text", NO_TIMES)
def test_no_time(text):
    assert parse(pl.Series([text])) == [None]


HEADER = "user_id,item_id,timestamp\n"
BAD = {
    "missing column": (
        "user,item_id,timestamp\n1,a,1\n",
        r"interactions\.csv: no column 'user_id' \(found user, item_id, timestamp\); .*table\.user_column",
    ),
    "null timestamp": (HEADER + "1,a,1\n1,b,\n", r"csv, line 3: timestamp is empty, expected a time"),
    "unparsable timestamp": (
        HEADER + "1,a,1\n1,b,soon\n",
        r"csv, line 3: timestamp is 'soon', expected a "
        "number in s",
    ),
    "wrong unit": (
        HEADER + "1,a,1546300800000\n",
        r"line 2: timestamp is '1546300800000', which lies "
        "beyond the year",
    ),
    "no user": (HEADER + "1,a,1\n,b,2\n", r"csv, line 3: user_id is empty, expected an id"),
    "no item": (HEADER + "1,a,1\n1,,2\n", r"csv, line 3: item_id is empty, expected an id"),
    "text over lines": (HEADER + '1,"a\nb",1\n1,b,x\n', r"csv, line 4: timestamp is 'x'"),
    "empty line": (HEADER + "1,a,1\n\n1,b,x\n", r"csv, line 3: user_id is empty"),
    "more fields": (HEADER + "1,a,1\n1,b,2,3\n", r"csv, line 3: found 4 fields, expected 3 as in the header"),
    "nothing": ("", r"interactions\.csv: cannot be read"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_csv(tmp_path, case):
    text, message = BAD[case]
    (tmp_path / "interactions.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_not_utf8(tmp_path):
    (tmp_path / "interactions.csv").write_bytes(HEADER.encode() + b"1,a,1\n1,caf\xe9,2\n")
    message = r"interactions\.csv, line 3: the byte 0xe9 at offset 37 is not UTF-8; convert the file"
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_items_not_utf8(tmp_path):
    (tmp_path / "interactions.csv").write_text(HEADER + "1,a,1\n")
    (tmp_path / "items.csv").write_bytes(b"item_id,title\na,caf\xe9\n")
    with pytest.raises(DataError, match=r"items\.csv, line 2: the byte 0xe9 at offset 19 is not UTF-8"):
        read(tmp_path)


@pytest.mark.parametrize("cut", [4, 5_000])
def test_truncated_gzip(tmp_path, cut):
    text = HEADER + "".join(f"{i},{i * 7919 % 1000},{i}\n" for i in range(20_000))
    whole = gzip.compress(text.encode())
    (tmp_path / "interactions.csv.gz").write_bytes(whole[:-cut])
    with pytest.raises(DataError, match=r"interactions\.csv\.gz: the gzip file is truncated or broken after line"):
        read(tmp_path)


def test_broken_parquet(tmp_path):
    path = tmp_path / "interactions.parquet"
    pl.DataFrame({"user_id": ["1"], "item_id": ["a"], "timestamp": [1]}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"interactions\.parquet: cannot be read"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("user_id", [1.0, 2.0], r"user_id is Float64, expected text or integers; .* look for empty ones"),
        ("item_id", [b"a", b"b"], r"item_id is Binary, expected text or integers; write the ids"),
        ("item_id", [["a"], ["b"]], r"item_id is List\(String\), expected text or integers"),
        ("timestamp", [True, False], r"timestamp is Boolean, expected numbers, dates, times or ISO"),
        ("timestamp", [1, None], r"parquet, row 2: timestamp is empty"),
        ("timestamp", [1.0, float("nan")], r"parquet, row 2: timestamp is nan, expected a number"),
        ("item_id", ["a", None], r"parquet, row 2: item_id is empty"),
    ],
)
def test_bad_types_in_parquet(tmp_path, column, values, message):
    frame = pl.DataFrame({"user_id": ["1", "2"], "item_id": ["a", "b"], "timestamp": [1, 2]})
    frame.with_columns(pl.Series(column, values)).write_parquet(tmp_path / "interactions.parquet")
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_mixed_id_types(tmp_path):
    interactions = pl.DataFrame({"user_id": [1], "item_id": [7], "timestamp": [1]})
    interactions.write_parquet(tmp_path / "interactions.parquet")
    pl.DataFrame({"item_id": ["007"]}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match=r"items\.parquet: item_id is String, but item_id of .* is Int64"):
        read(tmp_path)


def test_items_without_an_id(tmp_path):
    (tmp_path / "interactions.csv").write_text(HEADER + "1,a,1\n")
    (tmp_path / "items.csv").write_text("item_id,title\na,A\n,B\n")
    with pytest.raises(DataError, match=r"items\.csv, line 3: item_id is empty"):
        read(tmp_path)
    (tmp_path / "items.csv").write_text("sku,title\na,A\n")
    with pytest.raises(DataError, match=r"items\.csv: no column 'item_id' .* data\.table\.items_id_column"):
        read(tmp_path)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match=r"there is no file interactions\.csv, .*data\.table\.interactions"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"data\.table\.interactions: there is no file .*clicks\.csv"):
        read(tmp_path, interactions="clicks.csv")
    (tmp_path / "clicks.xlsx").touch()
    with pytest.raises(DataError, match=r"clicks\.xlsx ends in none of \.csv"):
        read(tmp_path, interactions="clicks.xlsx")
