"""Folders of sequences: what is read, and every way the files can contradict each other."""

import gzip
import json
from pathlib import Path

import pytest

from gen_rec.data.config import DataConfig
from gen_rec.data.interactions import Dataset
from gen_rec.data.prepare import prepare
from gen_rec.data.sources.s3rec import read_s3rec
from gen_rec.errors import DataError

SEQUENCES = "7 2 1 3\n5 3 3 1 2\n"
ITEMS = [
    {"item_id": 3, "asin": "C", "title": "Third", "categories": [["x", "y"], ["z"]], "brand": "Unknown"},
    {"item_id": 1, "asin": "A", "title": "First", "categories": [["x"]], "price": 2.5},
    {"item_id": 2, "asin": "B", "title": "", "categories": None},
]


def write(folder: Path, zipped: bool = False, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    files.setdefault("sequences.txt", SEQUENCES)
    files.setdefault("items.jsonl", "".join(json.dumps(item) + "\n" for item in ITEMS))
    for name, text in files.items():
        if zipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text)
    return folder


def rows(raw) -> list[tuple]:
    return raw.interactions.rows()


@pytest.mark.parametrize("zipped", [False, True])
def test_sequences_items_and_timestamps(tmp_path, zipped):
    raw = read_s3rec(write(tmp_path, zipped, **{"timestamps.txt": "7 10 20 20\n5 1 2 3 4\n"}))
    assert raw.clock == "unix"
    assert rows(raw) == [
        ("7", "B", 10), ("7", "A", 20), ("7", "C", 20),
        ("5", "C", 1), ("5", "C", 2), ("5", "A", 3), ("5", "B", 4),
    ]  # fmt: skip
    assert raw.items["item_id"].to_list() == ["A", "B", "C"]  # by number
    assert raw.items["categories"].to_list() == [[["x"]], None, [["x", "y"], ["z"]]]
    assert raw.items["price"].to_list() == ["2.5", None, None]


def test_gaps_add_up_within_a_user(tmp_path):
    raw = read_s3rec(write(tmp_path, **{"time_gaps.txt": "7 9 5 0\n5 0 1 0 2\n"}))
    assert raw.clock == "gaps"
    assert raw.interactions["timestamp"].to_list() == [0, 5, 5, 0, 1, 1, 3]


def test_without_times_positions_are_the_order(tmp_path):
    raw = read_s3rec(write(tmp_path))
    assert raw.clock == "order"
    assert raw.interactions["timestamp"].to_list() == [0, 1, 2, 0, 1, 2, 3]


def test_without_items_or_asin_the_numbers_are_the_ids(tmp_path):
    folder = write(tmp_path)
    (folder / "items.jsonl").unlink()
    raw = read_s3rec(folder)
    assert raw.items is None
    assert raw.interactions["item_id"].to_list() == ["2", "1", "3", "3", "3", "1", "2"]
    lines = "".join(f'{{"item_id": {number}}}\n' for number in (10, 2, 3, 1))
    raw = read_s3rec(write(tmp_path, **{"items.jsonl": lines}))
    assert raw.items["item_id"].to_list() == ["1", "2", "3", "10"]


def test_followed_through_prepare(tmp_path):
    write(tmp_path / "sets" / "tiny", **{"timestamps.txt": "7 10 20 20\n5 1 2 3 4\n"})
    summary = prepare(DataConfig(set="tiny", root=str(tmp_path / "sets")), tmp_path / "out")
    dataset = Dataset.load(tmp_path / "out")
    assert dataset.user_ids.tolist() == ["7", "5"]
    assert dataset.item_ids.tolist() == ["A", "B", "C"]
    assert dataset.titles == ["First", "", "Third"]
    assert dataset.texts == ["First. x", "", "Third. x > y; z"]
    assert dataset.item_index.tolist() == [1, 0, 2, 2, 2, 0, 1]
    assert dataset.split.tolist() == [0, 1, 2, 0, 0, 1, 2]
    assert dataset.cases("test").target.tolist() == [2, 1]
    assert summary["density"] == 7 / 6
    assert summary["share_of_ties"] == 1 / 7
    assert summary["share_of_users_with_ties"] == 1 / 2
    assert summary["share_with_text"] == 2 / 3
    assert summary["interactions_per_user"]["median"] == 3.5
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == {**summary}


BAD = {
    "a word": (
        {"sequences.txt": "7 2 1\n5 x 1\n"},
        r"sequences\.txt, line 2: found 'x' where a user and "
        "its items",
    ),
    "a user twice": ({"sequences.txt": "7 2\n7 1\n"}, r"sequences\.txt, line 2: user 7 is already on line 1"),
    "no item": ({"sequences.txt": "7 2\n\n8\n"}, r"sequences\.txt, line 3: user 8 has no item"),
    "other user": (
        {"timestamps.txt": "7 1 2 3\n6 1 2 3 4\n"},
        r"timestamps\.txt, line 2: found user 6, "
        "expected 5",
    ),
    "one time less": (
        {"timestamps.txt": "7 1 2\n5 1 2 3 4\n"},
        r"timestamps\.txt, line 1: user 7 has 2 "
        "timestamps for 3",
    ),
    "null time": ({"timestamps.txt": "7 1 null 3\n5 1 2 3 4\n"}, r"timestamps\.txt, line 1: found 'null'"),
    "short times": (
        {"timestamps.txt": "7 1 2 3\n"},
        r"timestamps\.txt: the file ends before user 5 \(line "
        "2",
    ),
    "long times": (
        {"timestamps.txt": "7 1 2 3\n5 1 2 3 4\n9 1\n"},
        r"line 3: found user 9, expected no "
        "more lines",
    ),
    "back in time": ({"time_gaps.txt": "7 0 2 3\n5 0 -1 0 0\n"}, r"time_gaps\.txt, line 2: found the gap -1"),
    "not JSON": (
        {"items.jsonl": '{"item_id": 1}\n{"item_id": 2,\n'},
        r"items\.jsonl, line 2, column 15: not JSON",
    ),
    "not an object": ({"items.jsonl": "[1]\n"}, r"items\.jsonl, line 1: found list, expected a JSON object"),
    "id is text": (
        {"items.jsonl": '{"item_id": "B00"}\n'},
        r"items\.jsonl, line 1: found item_id 'B00', "
        "expected",
    ),
    "no id": ({"items.jsonl": '{"title": "a"}\n'}, r"items\.jsonl, line 1: found item_id None"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(tmp_path, case):
    files, message = BAD[case]
    with pytest.raises(DataError, match=message):
        read_s3rec(write(tmp_path, **files))


def test_no_sequences(tmp_path):
    with pytest.raises(DataError, match=r"there is no sequences\.txt or sequences\.txt\.gz"):
        read_s3rec(tmp_path)


@pytest.mark.parametrize("name", ["sequences.txt", "items.jsonl", "timestamps.txt"])
def test_truncated_gzip(tmp_path, name):
    write(tmp_path, zipped=True, **{"timestamps.txt": "7 10 20 20\n5 1 2 3 4\n"})
    path = tmp_path / f"{name}.gz"
    path.write_bytes(path.read_bytes()[:-6])  # into the checksum at its end
    with pytest.raises(DataError, match=rf"{name}\.gz: the gzip file is truncated or broken after line \d"):
        read_s3rec(tmp_path)


@pytest.mark.parametrize("zipped", [False, True])
def test_not_utf8(tmp_path, zipped):
    folder = write(tmp_path)
    content = b'{"item_id": 1}\n{"item_id": 2, "title": "caf\xe9"}\n'
    (folder / "items.jsonl").write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(DataError, match=r"items\.jsonl, line 2: the byte 0xe9 at offset 43 is not UTF-8; convert"):
        read_s3rec(folder)
