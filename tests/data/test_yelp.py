"""Yelp's files, generated small; the answers can be known by looking."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from gen_rec.data.config import DataConfig
from gen_rec.data.sources.yelp import read_yelp
from gen_rec.errors import DataError

REVIEWS: list[dict[str, Any]] = [
    {"review_id": "r1", "user_id": "ann", "business_id": "b2", "stars": 5.0, "date": "2019-01-01 00:00:00"},
    {"review_id": "r2", "user_id": "bob", "business_id": "b1", "stars": 1.0, "date": "2018-12-31 23:59:59"},
    {"review_id": "r3", "user_id": "bob", "business_id": "b3", "stars": 3.0, "date": "2019-12-30 23:59:59"},
    {"review_id": "r4", "user_id": "ann", "business_id": "b1", "stars": 2.0, "date": "2019-12-31 00:00:00"},
]
BUSINESSES: list[dict[str, Any]] = [
    {"business_id": "b1", "name": "Café Zoë", "city": "Tempe", "state": "AZ", "categories": "Food, Cafes"},
    {"business_id": "b2", "name": " Diner ", "city": "Reno", "state": "NV", "categories": None},
    {"business_id": "b9", "name": "Nobody's", "city": "Reno", "state": "NV", "categories": "Bars"},
    {"business_id": "b3", "name": "Old", "categories": ["Greek", "Pizza"], "attributes": {"WiFi": "free"}},
]


def write(path: Path, rows: list[Any]) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "yelp_academic_dataset_review.json", REVIEWS)
    write(tmp_path / "yelp_academic_dataset_business.json", BUSINESSES)
    return tmp_path


def test_everything(folder: Path) -> None:
    raw = read_yelp(DataConfig(), folder)
    assert isinstance(raw.interactions, pl.DataFrame)
    assert raw.interactions.schema == {"user_id": pl.String, "item_id": pl.String, "timestamp": pl.Int64}
    assert raw.interactions.rows() == [
        ("ann", "b2", 1_546_300_800),
        ("bob", "b1", 1_546_300_799),
        ("bob", "b3", 1_577_750_399),
        ("ann", "b1", 1_577_750_400),
    ]
    assert raw.items is not None
    assert raw.items.columns == ["item_id", "title", "categories", "city", "state"]
    assert raw.items.rows() == [
        ("b1", "Café Zoë", "Food > Cafes", "Tempe", "AZ"),
        ("b2", "Diner", "", "Reno", "NV"),
        ("b3", "Old", "Greek > Pizza", "", ""),
    ]
    assert raw.clock == "unix"
    assert raw.item_place(2).endswith("business.json, line 4")


def test_the_window_includes_its_start_and_not_its_end(folder: Path) -> None:
    raw = read_yelp(DataConfig(date_from="2019-01-01", date_to="2019-12-31"), folder)
    assert isinstance(raw.interactions, pl.DataFrame)
    assert raw.interactions["timestamp"].to_list() == [1_546_300_800, 1_577_750_399]
    assert raw.items is not None
    assert raw.items["item_id"].to_list() == ["b2", "b3"]
    assert "2019-01-01 up to 2019-12-31" in raw.description


def test_stars_and_separator(folder: Path) -> None:
    raw = read_yelp(DataConfig(min_rating=3, list_separator=", "), folder)
    assert isinstance(raw.interactions, pl.DataFrame)
    assert raw.interactions["item_id"].to_list() == ["b2", "b3"]
    assert raw.items is not None
    assert raw.items["categories"].to_list() == ["", "Greek, Pizza"]


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_short_names_gzip_and_days_without_a_time(tmp_path: Path, suffix: str) -> None:
    write(tmp_path / f"review.json{suffix}", [REVIEWS[0] | {"date": "2019-01-02"}, REVIEWS[1]])
    write(tmp_path / f"business.json{suffix}", BUSINESSES)
    raw = read_yelp(DataConfig(), tmp_path)
    assert isinstance(raw.interactions, pl.DataFrame)
    assert raw.interactions["timestamp"].to_list() == [1_546_387_200, 1_546_300_799]


def test_rows_that_say_the_same_twice_are_one_and_others_are_left(folder: Path) -> None:
    twice = [*BUSINESSES, BUSINESSES[0], BUSINESSES[1] | {"name": "Other"}]
    write(folder / "yelp_academic_dataset_business.json", twice)
    raw = read_yelp(DataConfig(), folder)
    assert raw.items is not None
    assert raw.items["item_id"].to_list() == ["b1", "b2", "b3", "b2"]


@pytest.mark.parametrize(
    ("reviews", "words"),
    [
        (
            [REVIEWS[0], REVIEWS[1] | {"date": "last week"}],
            r"review\.json, line 2: 'date' is .*last week.*2019-03-01",
        ),
        ([REVIEWS[0], REVIEWS[1] | {"date": 5}], r"review\.json, line 2: 'date' is '5'"),
        (
            [{"user_id": "ann", "date": "2019-01-01"}],
            r"line 1: no value for 'business_id' among \['date', 'user_id'\]",
        ),
        ([REVIEWS[0] | {"user_id": None}], r"line 1: no value for 'user_id'"),
        ([REVIEWS[0] | {"user_id": ""}], r"line 1: no value for 'user_id'"),
        ([["ann"]], r"line 1: found .*, expected a JSON object"),
        ([], r"review\.json: there is no review in it"),
    ],
)
def test_bad_reviews(folder: Path, reviews: list[Any], words: str) -> None:
    write(folder / "yelp_academic_dataset_review.json", reviews)
    with pytest.raises(DataError, match=words):
        read_yelp(DataConfig(), folder)


@pytest.mark.parametrize(
    ("businesses", "words"),
    [
        ([*BUSINESSES, {"name": "x"}], r"business\.json, line 5: no 'business_id' among \['name'\]"),
        ([BUSINESSES[0] | {"categories": 3}], r"business\.json, line 1: 'categories' is '3'"),
        (["text"], r"business\.json, line 1: found str"),
    ],
)
def test_bad_businesses(folder: Path, businesses: list[Any], words: str) -> None:
    write(folder / "yelp_academic_dataset_business.json", businesses)
    with pytest.raises(DataError, match=words):
        read_yelp(DataConfig(), folder)


def test_an_empty_window_says_what_there_is(folder: Path) -> None:
    with pytest.raises(DataError, match=r"none of the 4 reviews \(2018-12-31 to 2019-12-31\).*date_from 2021-01-01"):
        read_yelp(DataConfig(date_from="2021-01-01"), folder)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of the files yelp_academic_dataset_review\.json.*put it there"):
        read_yelp(DataConfig(), tmp_path / "nowhere")
    (tmp_path / "yelp_dataset.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"unpack yelp_dataset\.tar there"):
        read_yelp(DataConfig(), tmp_path)
