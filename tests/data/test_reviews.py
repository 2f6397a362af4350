"""Cutting review files into blocks, and the fast way through a block against the slow one."""

import gzip
import json
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gen_rec.data.config import DataConfig
from gen_rec.data.sources import reviews
from gen_rec.data.sources.reviews import ReviewFields, json_object, line_blocks, read_reviews, shorten
from gen_rec.errors import DataError

JSON_FIELDS = ReviewFields("u", "i", "t", "r", "s")
DATE_FIELDS = ReviewFields("u", "i", "t", "r", "date")

names = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=20)
times = st.integers(-(2**40), 2**40)
written_times = st.one_of(times, times.map(str), st.integers(0, 2**40).map(float))
review = st.fixed_dictionaries({"u": names, "i": names, "t": written_times, "x": st.text(max_size=9)})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "reviews.json"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=20),
    ends=st.booleans(),
    piece=st.integers(1, 40),
    block=st.integers(1, 80),
    zipped=st.booleans(),
)
def test_blocks_are_whole_lines_with_their_number_and_offset(
    path: Path, lines: list[bytes], ends: bool, piece: int, block: int, zipped: bool
) -> None:
    content = b"\n".join(lines) + (b"\n" if ends else b"")
    if not zipped and content.startswith(b"\x1f\x8b"):
        return  # which would make it a gzip file
    path.write_bytes(gzip.compress(content) if zipped else content)
    with mock.patch.multiple(reviews, PIECE_BYTES=piece, BLOCK_BYTES=block):
        blocks = list(line_blocks(path))
    assert b"".join(found for _, _, found in blocks) == content
    for number, offset, found in blocks:
        assert content[offset : offset + len(found)] == found
        assert number == 1 + content[:offset].count(b"\n")
        assert found.endswith(b"\n") or offset + len(found) == len(content)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(review, min_size=1, max_size=8))
def test_the_fast_way_and_the_slow_way_agree(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    expected = [(row["u"], row["i"], int(row["t"])) for row in rows]
    assert read_reviews([path], JSON_FIELDS, DataConfig()).rows() == expected
    with mock.patch.object(reviews, "_read_ndjson", return_value=None):
        assert read_reviews([path], JSON_FIELDS, DataConfig()).rows() == expected


@pytest.mark.parametrize(("piece", "block"), [(700, 1000), (1, 1), (1 << 20, 1 << 25)])
def test_many_blocks_are_as_one(path: Path, piece: int, block: int) -> None:
    many: list[dict[str, Any]] = [{"u": f"Ü{n}", "i": "b", "t": n, "text": "x" * (n % 90)} for n in range(300)]
    many[200]["t"] = "200"  # so that one block is read the slow way
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in many).encode()))
    with mock.patch.multiple(reviews, PIECE_BYTES=piece, BLOCK_BYTES=block):
        found = read_reviews([path], JSON_FIELDS, DataConfig()).rows()
        assert found == [(f"Ü{n}", "b", n) for n in range(300)]
        del many[250]["i"]
        path.write_text("".join(json.dumps(row) + "\n" for row in many))
        with pytest.raises(DataError, match=r"reviews\.json, line 251: no value for 'i' among"):
            read_reviews([path], JSON_FIELDS, DataConfig())


@pytest.mark.parametrize("time", [True, "", "1.5", 1.5, "soon", [1], 10**30])
def test_times_that_are_none(path: Path, time: Any) -> None:
    path.write_text(json.dumps({"u": "a", "i": "b", "t": time}) + "\n")
    with pytest.raises(DataError, match=r"line 1: ('t' is .*whole seconds|no value for 't')"):
        read_reviews([path], JSON_FIELDS, DataConfig())


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("1970-01-01", 0),
        ("1970-01-02 00:00:01", 86_401),
        ("2016-02-29 12:00:00", 1_456_747_200),
        ("2016-02-29T12:00:00", 1_456_747_200),  # which only the slow way knows
        ("1969-12-31 23:59:59", -1),
    ],
)
def test_dates_are_utc(path: Path, date: str, seconds: int) -> None:
    path.write_text(json.dumps({"u": "a", "i": "b", "t": date}) + "\n")
    assert read_reviews([path], DATE_FIELDS, DataConfig())["timestamp"].to_list() == [seconds]
    with mock.patch.object(reviews, "_read_ndjson", return_value=None):
        assert read_reviews([path], DATE_FIELDS, DataConfig())["timestamp"].to_list() == [seconds]


def test_several_files_are_one_after_the_other(tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json", tmp_path / "empty.json"]
    for number, path in enumerate(paths[:2]):
        path.write_text(json.dumps({"u": f"u{number}", "i": "b", "t": 9 - number}) + "\n")
    paths[2].write_text("")
    assert read_reviews(paths, JSON_FIELDS, DataConfig()).rows() == [("u0", "b", 9), ("u1", "b", 8)]


def test_a_line_that_is_no_object() -> None:
    assert json_object("f, line 1", '{"a": 1}') == {"a": 1}
    for text in ("[]", "1", "nul", "{'a': 1}", "[" * 100_000):
        with pytest.raises(DataError, match=r"^f, line 1: .*expected (a JSON|one) object"):
            json_object("f, line 1", text)


def test_shorten() -> None:
    assert shorten("abc") == "'abc'"
    assert shorten("abcdef", 3) == "'abc…'"
