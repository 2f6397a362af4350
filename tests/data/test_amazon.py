"""The three editions of the Amazon files, generated small, and everything that can be wrong with them."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gen_rec.data.config import DataConfig
from gen_rec.data.sources.amazon import clean, read_amazon
from gen_rec.data.sources.raw import RawData
from gen_rec.errors import DataError

OLD_REVIEWS: list[dict[str, Any]] = [
    {
        "reviewerID": "A1",
        "asin": "B2",
        "overall": 5.0,
        "unixReviewTime": 1252800000,
        "reviewText": "ünï\n'x'",
    },
    {"reviewerID": "A2", "asin": "B1", "overall": 2.0, "unixReviewTime": 1100000000, "helpful": [2, 3]},
    {"reviewerID": "A1", "asin": "B1", "overall": 4.0, "unixReviewTime": 1252800000},
]
OLD_ROWS = [("A1", "B2", 1252800000), ("A2", "B1", 1100000000), ("A1", "B1", 1252800000)]
META_2014: list[dict[str, Any]] = [
    {
        "asin": "B1",
        "title": 'Girl\'s "Tutu" &amp; more',
        "price": 3.17,
        "brand": "Coxlures",
        "related": {"also_bought": ["B2", "B9"]},
        "categories": [["Sports", "Dance"], ["Clothing", "Girls"], ["Sports", "Dance"]],
        "description": "Soft.\nPink.",
    },
    {"asin": "B9", "title": "nobody bought it"},
    {"asin": "B2", "categories": [["Sports"]], "salesRank": {"Toys": 1}},
]
META_2018: list[dict[str, Any]] = [
    {
        "category": ["Beauty", "Hair <b>Care</b>", ""],
        "description": ["One.", "Two."],
        "title": '<span class="x">Nice\n Comb</span><script>var a = "<b>";</script>',
        "brand": "\n  Acme\n",
        "price": "$12.99",
        "asin": "B1",
    },
    {
        "category": [],
        "title": "var aPageStart = (new Date()).getTime();",
        "price": ".a-box-inner{background:#fff}",
        "asin": "B2",
    },
]
NEW_REVIEWS: list[dict[str, Any]] = [
    {"rating": 5.0, "parent_asin": "P1", "asin": "V1", "user_id": "U1", "timestamp": 1588687728923},
    {"rating": 3.0, "parent_asin": "P2", "asin": "V2", "user_id": "U1", "timestamp": 1588687728100},
    {"rating": 1.0, "parent_asin": "P1", "asin": "V3", "user_id": "U2", "timestamp": 1588615855070},
]
NEW_ROWS = [("U2", "P1", 1588615855), ("U1", "P2", 1588687728), ("U1", "P1", 1588687728)]
META_2023: list[dict[str, Any]] = [
    {
        "title": "Spray",
        "price": 8.5,
        "store": "Herbivore",
        "categories": ["Beauty", "Hair"],
        "description": [],
        "details": {"Brand": "Other"},
        "parent_asin": "P1",
    },
    {
        "title": "Comb",
        "store": None,
        "price": "—",
        "details": {"Brand": "Acme"},
        "categories": [],
        "parent_asin": "P2",
    },
]
RATINGS = "user_id,parent_asin,rating,timestamp\n" + "".join(
    f"{row['user_id']},{row['parent_asin']},{row['rating']},{row['timestamp']}\n" for row in NEW_REVIEWS
)


def json_lines(rows: list[Any]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def literals(rows: list[Any]) -> str:
    return "".join(f"{row!r}\n" for row in rows)


def write(path: Path, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def read(folder: Path, **settings: Any) -> RawData:
    return read_amazon(DataConfig(**settings), folder)


def rows(raw: RawData) -> list[tuple[Any, ...]]:
    assert isinstance(raw.interactions, pl.DataFrame)
    assert raw.interactions.schema == {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}
    return raw.interactions.rows()


def items(raw: RawData) -> dict[str, dict[str, str]]:
    assert raw.items is not None
    assert raw.items.columns == ["item_id", "title", "brand", "categories", "price", "description"]
    assert set(raw.items.dtypes) == {pl.String()}
    return {row["item_id"]: row for row in raw.items.to_dicts()}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    write(tmp_path / "reviews_Dance_5.json.gz", json_lines(OLD_REVIEWS))
    write(tmp_path / "meta_Dance.json.gz", literals(META_2014))
    return tmp_path


@pytest.mark.parametrize("names", [("reviews_X_5.json.gz", "meta_X.json.gz"), ("reviews_X.json", "meta_X.json")])
def test_2014(tmp_path: Path, names: tuple[str, str]) -> None:
    write(tmp_path / names[0], json_lines(OLD_REVIEWS))
    write(tmp_path / names[1], literals(META_2014))
    raw = read(tmp_path)
    assert rows(raw) == OLD_ROWS
    found = items(raw)
    assert list(found) == ["B1", "B2"]
    assert found["B1"] == {
        "item_id": "B1",
        "title": 'Girl\'s "Tutu" & more',
        "brand": "Coxlures",
        "categories": "Sports > Dance; Clothing > Girls",
        "price": "3.17",
        "description": "Soft. Pink.",
    }
    assert found["B2"]["categories"] == "Sports"
    assert found["B2"]["title"] == found["B2"]["price"] == ""
    assert raw.clock == "unix"
    assert raw.item_place(1) == f"{tmp_path / names[1]}, line 3"
    assert "2014" in raw.description


@pytest.mark.parametrize("name", ["All_Beauty_5.json.gz", "All_Beauty.json"])
def test_2018(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, json_lines(OLD_REVIEWS))
    write(tmp_path / "meta_All_Beauty.json.gz", json_lines([*META_2018, META_2018[0]]))
    raw = read(tmp_path)
    assert rows(raw) == OLD_ROWS
    found = items(raw)
    assert len(found) == len(raw.items if raw.items is not None else []) == 2  # the repeated line is one row
    assert found["B1"]["title"] == "Nice Comb"
    assert found["B1"]["brand"] == "Acme"
    assert found["B1"]["categories"] == "Beauty > Hair Care"
    assert found["B1"]["price"] == "$12.99"
    assert found["B1"]["description"] == "One. Two."
    assert found["B2"]["title"] == found["B2"]["price"] == found["B2"]["categories"] == ""


def test_rows_that_differ_are_left_to_the_duplicate_policy(tmp_path: Path) -> None:
    write(tmp_path / "X_5.json", json_lines(OLD_REVIEWS))
    write(tmp_path / "meta_X.json", json_lines([*META_2018, META_2018[0] | {"brand": "Other"}]))
    raw = read(tmp_path)
    assert raw.items is not None
    assert raw.items["item_id"].to_list() == ["B1", "B2", "B1"]
    assert raw.item_place(2).endswith("meta_X.json, line 3")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_2023_in_order_of_time(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"All_Beauty.jsonl{suffix}", json_lines(NEW_REVIEWS))
    write(tmp_path / f"meta_All_Beauty.jsonl{suffix}", json_lines(META_2023))
    raw = read(tmp_path)
    assert rows(raw) == NEW_ROWS  # the two in the same second stand in their order of milliseconds
    found = items(raw)
    assert found["P1"]["brand"] == "Herbivore"
    assert found["P2"]["brand"] == "Acme"
    assert found["P1"]["price"] == "8.5"
    assert found["P2"]["price"] == ""
    assert found["P1"]["categories"] == "Beauty > Hair"


def test_2023_ratings_only(tmp_path: Path) -> None:
    write(tmp_path / "X.csv.gz", RATINGS)
    write(tmp_path / "meta_X.jsonl.gz", json_lines(META_2023))
    raw = read(tmp_path)
    assert rows(raw) == NEW_ROWS
    assert list(items(raw)) == ["P1", "P2"]


def test_2023_ready_made_split_is_the_whole(tmp_path: Path) -> None:
    lines = RATINGS.splitlines()
    header = f"{lines[0]},history\n"
    for line, split in zip(lines[1:], ("train", "valid", "test"), strict=True):
        write(tmp_path / f"X.{split}.csv", f"{header}{line},P7 P8\n")
    raw = read(tmp_path)
    assert rows(raw) == NEW_ROWS
    assert raw.items is None
    (tmp_path / "X.valid.csv").unlink()
    with pytest.raises(DataError, match=r"X\.test\.csv, X\.train\.csv; expected one category in the amazon-2023"):
        read(tmp_path)


def test_rating_and_window(old: Path) -> None:
    raw = read(old, min_rating=4.0)
    assert rows(raw) == [OLD_ROWS[0], OLD_ROWS[2]]
    raw = read(old, date_to="2009-09-13")  # 1252800000 is its first second
    assert rows(raw) == [OLD_ROWS[1]]
    assert list(items(raw)) == ["B1"]
    raw = read(old, date_from="2009-09-13", min_rating=5)
    assert rows(raw) == [OLD_ROWS[0]]
    with pytest.raises(DataError, match=r"none of the 3 reviews \(2004-11-09 to 2009-09-13\)"):
        read(old, date_from="2010-01-01")


def test_rating_and_window_in_milliseconds(tmp_path: Path) -> None:
    write(tmp_path / "X.csv", RATINGS)
    assert rows(read(tmp_path, date_from="2020-05-05T00:00:00", min_rating=3)) == NEW_ROWS[1:]


def test_what_is_harmless_is_forgiven(old: Path) -> None:
    odd = [
        OLD_REVIEWS[0] | {"unixReviewTime": 1252800000.0},
        OLD_REVIEWS[1] | {"unixReviewTime": "1100000000"},
        OLD_REVIEWS[2] | {"asin": 7},
    ]
    text = json_lines(odd).replace("\n", "\r\n\n").removesuffix("\r\n\n")  # blank lines, and no line end at the end
    write(old / "reviews_Dance_5.json.gz", text)
    assert rows(read(old)) == [OLD_ROWS[0], OLD_ROWS[1], ("A1", "7", 1252800000)]


def test_the_unzipped_one_of_a_pair_is_read(old: Path) -> None:
    write(old / "reviews_Dance_5.json", json_lines(OLD_REVIEWS[:1]))
    assert rows(read(old)) == OLD_ROWS[:1]


def bad(line: dict[str, Any]) -> str:
    return json_lines([OLD_REVIEWS[0], line])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (bad({"reviewerID": "A"}), r"line 2: no value for 'asin', 'unixReviewTime' among \['reviewerID'\]"),
        (bad(OLD_REVIEWS[1] | {"asin": None}), r"line 2: no value for 'asin'"),
        (bad(OLD_REVIEWS[1] | {"asin": ""}), r"line 2: no value for 'asin'"),
        (
            bad(OLD_REVIEWS[1] | {"unixReviewTime": "May 5"}),
            r"line 2: 'unixReviewTime' is .*May 5.*whole seconds",
        ),
        (bad(OLD_REVIEWS[1] | {"unixReviewTime": 1.5}), r"line 2: 'unixReviewTime' is '1\.5'"),
        (
            bad(OLD_REVIEWS[1] | {"unixReviewTime": True, "asin": [1]}),
            r"line 2: 'asin' is '\[1\]'; expected text",
        ),
        (json_lines(OLD_REVIEWS)[:-20], r"line 3: not JSON .*last line, the file was cut: download"),
        (json_lines(OLD_REVIEWS) + "[1]\n", r"line 4: found '\[1\]', expected a JSON object"),
        ("<html>\n", r"line 1: not JSON .*'<html>'"),
        ("", r"there is no review in it"),
        ("\n\n", r"there is no review in it"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_bad_reviews(old: Path, content: str, words: str, suffix: str) -> None:
    (old / "reviews_Dance_5.json.gz").unlink()
    write(old / f"reviews_Dance_5.json{suffix}", content)
    with pytest.raises(DataError, match=rf"reviews_Dance_5\.json{suffix}.*{words}"):
        read(old)


def test_a_bad_rating_matters_only_where_ratings_do(old: Path) -> None:
    write(old / "reviews_Dance_5.json.gz", json_lines([OLD_REVIEWS[0] | {"overall": "good"}]))
    assert rows(read(old)) == OLD_ROWS[:1]
    with pytest.raises(DataError, match=r"line 1: 'overall' is .*good.*expected a number"):
        read(old, min_rating=3)


def test_bytes_that_are_not_utf8(old: Path) -> None:
    first = json_lines(OLD_REVIEWS[:1]).encode()
    write(old / "reviews_Dance_5.json.gz", first + b'{"reviewerID": "caf\xe9"}\n')
    with pytest.raises(DataError, match=rf"line 2: the byte 0xe9 at offset {len(first) + 19} is not UTF-8"):
        read(old)
    write(old / "reviews_Dance_5.json.gz", first)
    write(old / "meta_Dance.json.gz", b"{'asin': 'B2', 'title': 'caf\xe9'}\n")
    with pytest.raises(DataError, match=r"meta_Dance\.json\.gz, line 1: the byte 0xe9"):
        read(old)


def test_gzip_files_that_were_cut(old: Path) -> None:
    rng_free = json_lines([OLD_REVIEWS[0] | {"reviewerID": f"{n * 7919 % 10007}"} for n in range(3000)])
    for name, content in (("reviews_Dance_5.json.gz", rng_free), ("meta_Dance.json.gz", literals(META_2014))):
        whole = gzip.compress(content.encode())
        (old / name).write_bytes(whole[: len(whole) * 2 // 3])
        with pytest.raises(DataError, match=rf"{name}: the gzip file is truncated or broken after line \d+"):
            read(old)
        (old / name).write_bytes(whole[:-6] + b"\0\0\0\0\0\0")  # a wrong checksum
        with pytest.raises(DataError, match=rf"{name}: the gzip file is truncated or broken"):
            read(old)
        write(old / name, content)
    assert len(rows(read(old))) == 3000


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{'asin': 'B2', 'title': 'x'", r"not a Python literal .*If it is the last line, the file was cut"),
        ("{'asin': 'B2', 'title': __import__('os').getcwd()}", r"not a Python literal"),
        ("{'asin': 'B2', 'title': [x for x in (1,)]}", r"not a Python literal"),
        ('{"asin": "B2", "title": null}', r"not a Python literal .*not the 2014 layout: set data\.source"),
        ("['asin', 'B2']", r"found .*expected a dict"),
        ("{'title': 'x'}", r"no 'asin' among \['title'\]"),
        ("{'asin': 5}", r"no 'asin' among \['asin'\]"),
        ("{'asin': 'B2', 'categories': [{'a': 1}]}", r"'categories' holds .*expected text or a list"),
    ],
)
def test_bad_literals(old: Path, line: str, words: str) -> None:
    write(old / "meta_Dance.json.gz", literals(META_2014[:1]) + line + "\n")
    with pytest.raises(DataError, match=rf"meta_Dance\.json\.gz, line 2: {words}"):
        read(old)


def test_nothing_in_a_literal_is_executed(old: Path, tmp_path: Path) -> None:
    target = tmp_path / "executed"
    write(old / "meta_Dance.json.gz", f"{{'asin': 'B2', 'title': open({str(target)!r}, 'w')}}\n")
    with pytest.raises(DataError):
        read(old)
    assert not target.exists()


def test_bad_json_metadata(tmp_path: Path) -> None:
    write(tmp_path / "X.jsonl", json_lines(NEW_REVIEWS))
    write(tmp_path / "meta_X.jsonl", json_lines(META_2023) + '{"parent_asin": "P1", "title": \n')
    with pytest.raises(DataError, match=r"meta_X\.jsonl, line 3: not JSON"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("user_id,rating,timestamp\nU,5,1\n", r"line 1: no column 'parent_asin' among \['user_id'"),
        (RATINGS + "U9,P9\n", r"line 5: 2 values, found 'U9,P9'; expected 4 .*last line, the file was cut"),
        (RATINGS + "U9,P9,4.0,soon\n", r"line 5: 'timestamp' is .*soon.*whole milliseconds"),
        (RATINGS + "U9,,4.0,1588687728923\n", r"line 5: no value for 'parent_asin'"),
        ("user_id,parent_asin,rating,timestamp\n", r"there is no review in it"),
    ],
)
def test_bad_csv(tmp_path: Path, content: str, words: str) -> None:
    write(tmp_path / "X.csv.gz", content)
    with pytest.raises(DataError, match=rf"X\.csv\.gz.*{words}"):
        read(tmp_path)


def test_which_files(tmp_path: Path, old: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match=r"nowhere: there is no such folder"):
        read(tmp_path / "nowhere", source="amazon-2014")
    with pytest.raises(DataError, match=r"no review file; expected one category in the amazon-2023 layout"):
        read(old, source="amazon-2023")
    (old / "meta_Dance.json.gz").unlink()
    raw = read(old)
    assert raw.items is None
    assert "no meta_*.json here" in caplog.text
    write(old / "Dance.jsonl", json_lines(NEW_REVIEWS))
    with pytest.raises(DataError, match=r"fit 2 of the layouts.*say which with data\.source"):
        read(old)
    assert rows(read(old, source="amazon-2023")) == NEW_ROWS
    write(old / "reviews_Dance.json", json_lines(OLD_REVIEWS))
    with pytest.raises(DataError, match=r"the review files reviews_Dance\.json, reviews_Dance_5\.json; expected one"):
        read(old, source="amazon-2014")
    for name in ("a", "b"):
        write(old / f"meta_{name}.jsonl", json_lines(META_2023))
    with pytest.raises(DataError, match=r"metadata files meta_a\.jsonl, meta_b\.jsonl; expected one"):
        read(old, source="amazon-2023")


def test_clean() -> None:
    assert clean(None) == ""
    assert clean(3) == "3"
    assert clean(" a <b>b</b>\t&lt;c&gt; 3 < 4 > 2 ") == "a b <c> 3 < 4 > 2"
    assert clean("x<style>p{}</style>y<script src='a'>never closed") == "x y"
