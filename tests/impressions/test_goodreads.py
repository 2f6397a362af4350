"""Reader of Goodreads: ratings become impressions in a cut of time that no history crosses."""

import gzip
import json
import os
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gen_rec.errors import DataError
from gen_rec.impressions.config import GoodreadsConfig, ImpressionConfig
from gen_rec.impressions.goodreads import read_goodreads
from gen_rec.impressions.ratings import read_ratings
from gen_rec.impressions.table import NO_TIME

PSEUDO_USERS = Path(os.environ.get("GEN_REC_DATA", "nowhere")) / "goodreads"
START = int(datetime(2017, 8, 1, tzinfo=UTC).timestamp())


def date(time):
    return datetime.fromtimestamp(time, UTC).strftime("%a %b %d %H:%M:%S +0000 %Y")


def rating(user, book, stars, day, **more):
    return {"user_id": user, "book_id": book, "is_read": stars > 0, "rating": stars, "review_text_incomplete": "",
            "date_added": date(START + day * 86400), "read_at": "", **more}  # fmt: skip


def book(name, **more):
    return {"book_id": name, "title": f"Title {name}", "description": f"About\n {name}.", "publication_year": "2001",
            "authors": [{"author_id": "7", "role": ""}, {"author_id": "8", "role": "Illustrator"}], **more}  # fmt: skip


def write_lines(path, rows):
    path.parent.mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def write(folder, ratings, books=None):
    write_lines(folder / "goodreads_interactions_poetry.json.gz", ratings)
    write_lines(folder / "goodreads_books_poetry.json.gz", books or [book(name) for name in "abcdefghij"])
    return folder


TEN = [
    rating("u1", "a", 5, 0), rating("u1", "b", 1, 1), rating("u2", "c", 4, 2), rating("u2", "a", 5, 3),
    rating("u1", "x", 0, 3), rating("u1", "y", 3, 3),  # on a shelf, and neither
    rating("u3", "d", 4, 4), rating("u1", "d", 4, 5), rating("u1", "e", 2, 6), rating("u2", "f", 1, 7),
    rating("u1", "g", 5, 8), rating("u1", "h", 1, 9),
]  # fmt: skip
"""Ten ratings count: the first five lie before the training candidates, three in train, one in valid, one in test."""


def as_words(data, split):
    """user -> (history, candidates with labels), in external ids."""
    some, ids = data.splits[split], data.items["item_id"]
    found = {}
    for i in range(len(some)):
        part = slice(some.offsets[i], some.offsets[i + 1])
        shown = zip(ids.gather(some.candidates[part]).to_list(), some.labels[part].tolist(), strict=True)
        found[some.user_ids[some.user[i]]] = (ids.gather(some.history_of(i)).to_list(), list(shown))
    return found


def test_a_hand_made_set(tmp_path):
    data = read_goodreads(write(tmp_path / "poetry", reversed(TEN)))  # any order of lines
    assert as_words(data, "train") == {"u1": (["a"], [("d", 1), ("e", 0)]), "u2": (["c", "a"], [("f", 0)])}
    assert as_words(data, "valid") == {"u1": (["a", "d"], [("g", 1)])}
    assert as_words(data, "test") == {"u1": (["a", "d", "g"], [("h", 0)])}
    assert data.splits["train"].ids.tolist() == ["train-u1", "train-u2"]
    assert data.splits["train"].times.tolist() == [START + 5 * 86400, START + 7 * 86400]  # of the first candidate
    assert data.counts["read"] == {
        "lines": 12, "not rated": 1, "neither liked nor disliked": 1, "without a date": 0,
    }  # fmt: skip
    assert data.counts["train"] == {
        "impressions": 2, "liked": 1, "disliked": 2, "users without enough likes before": 0,
    }  # fmt: skip
    assert data.items["item_id"].to_list() == list("abcdefgh")
    assert data.items["text"][0] == "Title a. About a."


def test_texts_with_authors_and_genres(tmp_path):
    folder = write(tmp_path, TEN)
    write_lines(
        folder / "goodreads_book_authors.json",
        [{"author_id": "7", "name": "Ann Poet"}, {"author_id": "8", "name": "X"}],
    )
    write_lines(
        folder / "goodreads_book_genres_initial.json.gz", [{"book_id": "a", "genres": {"fiction": 2, "poetry": 9}}]
    )
    first = read_goodreads(folder).items.row(0, named=True)
    assert first == {
        "item_id": "a", "title": "Title a", "text": "Title a. Ann Poet. About a.", "authors": "Ann Poet",
        "description": "About a.", "year": "2001", "categories": "poetry; fiction",
    }  # fmt: skip
    data = read_goodreads(folder, ImpressionConfig(text="{categories} | {title} ({year})"))
    assert data.items["text"][:2].to_list() == ["poetry; fiction | Title a (2001)", "Title b (2001)"]


def test_limits_and_short_histories(tmp_path):
    folder = write(tmp_path, TEN)
    config = GoodreadsConfig(positive_above=4, negative_below=2, min_history=0)
    data = read_goodreads(folder, ImpressionConfig(goodreads=config))
    # a5 b1 a5 f1 g5 h1 are left: the first three before, f1 and g5 in train, and 5/6 of the ratings lie before h1
    assert as_words(data, "train") == {"u1": (["a"], [("g", 1)]), "u2": (["a"], [("f", 0)])}
    assert as_words(data, "valid") == {"u1": (["a", "g"], [("h", 0)])}
    assert len(data.splits["test"]) == 0
    few = read_goodreads(folder, ImpressionConfig(goodreads=GoodreadsConfig(min_history=2)))
    assert as_words(few, "train") == {"u2": (["c", "a"], [("f", 0)])}
    assert few.counts["train"]["users without enough likes before"] == 1


def test_against_a_loop(tmp_path):
    """Random ratings with many equal times and some pairs rated twice."""
    rng = random.Random(0)
    rows = [
        (f"u{rng.randrange(9)}", rng.choice("abcdefghij"), rng.randrange(6), rng.randrange(12)) for _ in range(400)
    ]  # fmt: skip
    data = read_goodreads(
        write(tmp_path, [rating(*row) for row in rows]), ImpressionConfig(goodreads=GoodreadsConfig(min_history=0))
    )
    counted = [row for row in rows if row[2] not in (0, 3)]
    once = {}
    for row in sorted(counted, key=lambda row: row[3]):
        once.setdefault(row[:2], row)
    kept = list(once.values())

    def share(row):
        return sum(other[3] < row[3] for other in kept) / len(kept)

    for split, low, high in (("train", 0.5, 0.8), ("valid", 0.8, 0.9), ("test", 0.9, 2.0)):
        expected = {}
        for user, name, stars, day in kept:
            if low <= share((user, name, stars, day)) < high:
                expected.setdefault(user, ([], []))[1].append((name, int(stars > 3)))
        for user, name, stars, day in kept:
            if user in expected and stars > 3 and share((user, name, stars, day)) < low:
                expected[user][0].append(name)
        assert as_words(data, split) == expected
        assert all(not set(history) & {name for name, _ in shown} for history, shown in expected.values())


def csv_folder(folder):
    lines = [
        "user_id,book_id,is_read,rating,is_reviewed",
        *(f"0,{i},1,{5 if i % 2 else 1},0" for i in range(9, -1, -1)),
    ]
    folder.mkdir(exist_ok=True)
    (folder / "goodreads_interactions.csv").write_text("\n".join(lines) + "\n")
    (folder / "book_id_map.csv").write_text(
        "book_id_csv,book_id\n" + "".join(f"{i},{'abcdefghij'[i]}\n" for i in range(10))
    )
    write_lines(folder / "goodreads_books.json.gz", [book(name) for name in "abcdefghij"])
    return folder


def test_the_csv_file_has_no_dates(tmp_path):
    folder = csv_folder(tmp_path / "a")
    with pytest.raises(DataError, match=r"goodreads_interactions\.csv: has no dates, so nothing says what came first"):
        read_goodreads(folder)
    newest = read_goodreads(folder, ImpressionConfig(goodreads=GoodreadsConfig(undated="newest_first")))
    assert as_words(newest, "train") == {"0": (["b", "d"], [("f", 1), ("g", 0), ("h", 1)])}
    assert as_words(newest, "valid") == {"0": (["b", "d", "f", "h"], [("i", 0)])}
    assert newest.splits["train"].times.tolist() == [NO_TIME]
    oldest = read_goodreads(folder, ImpressionConfig(goodreads=GoodreadsConfig(undated="oldest_first")))
    assert as_words(oldest, "test") == {"0": (["j", "h", "f", "d", "b"], [("a", 0)])}
    (folder / "book_id_map.csv").write_text("book_id_csv,book_id\n9,a\n")
    with pytest.raises(DataError, match=r"book_id_map\.csv: no row for book '8' of the ratings \(9 ratings\)"):
        read_goodreads(folder)
    (folder / "book_id_map.csv").unlink()
    with pytest.raises(DataError, match=r"no book_id_map\.csv, and the CSV file of ratings has ids of its own"):
        read_goodreads(folder)


def test_lines_that_are_only_unusual(tmp_path):
    """Numbers as ids, a blank line, a missing date: harmless."""
    path = tmp_path / "goodreads_interactions_x.json"
    rows = [rating(7, 11, 5, 0), rating("7", "12", 2, 1, date_added=None), rating("7", "13", 1, 2, date_added="")]
    path.write_text(json.dumps(rows[0]) + "\n\n" + "".join(json.dumps(row) + "\n" for row in rows[1:]))
    found = read_ratings(path, GoodreadsConfig())
    assert found.frame.rows() == [("7", "11", 1, START)]
    assert found.counts["without a date"] == 2
    assert found.dated


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"rating": 6}, r"line 2: a rating of 6; expected 0 \(not rated\) to 5"),
        ({"rating": "good"}, "line 2: 'rating' is 'good'; expected a number from 0 to 5"),
        ({"user_id": ""}, "line 2: 'user_id' is ''; every rating needs it"),
        ({"book_id": None}, "line 2: 'book_id' is None; every rating needs it"),
        ({"date_added": "2017-08-01"}, "line 2: date_added is '2017-08-01'; expected a date such as"),
    ],
)
def test_malformed_ratings(tmp_path, row, message):
    path = tmp_path / "goodreads_interactions_x.json"
    write_lines(path, [rating("u", "a", 5, 0), rating("u", "b", 5, 0) | row])
    with pytest.raises(DataError, match=message):
        read_ratings(path, GoodreadsConfig())


def test_other_errors_in_ratings(tmp_path):
    path = tmp_path / "goodreads_interactions_x.json"
    write_lines(path, [rating("u", "a", 5, 0)])
    with pytest.raises(DataError, match="line 1: no 'started_at' among"):
        read_ratings(path, GoodreadsConfig(time="started_at"))
    write_lines(path, [rating("u", "a", 3, 0), rating("u", "b", 0, 0)])
    with pytest.raises(DataError, match="none of 2 lines is a rating above 3 or below 3 with a date"):
        read_ratings(path, GoodreadsConfig())
    path.write_text(json.dumps(rating("u", "a", 5, 0)) + "\n{cut")
    with pytest.raises(DataError, match="line 2: not JSON"):
        read_ratings(path, GoodreadsConfig())
    table = tmp_path / "goodreads_interactions.csv"
    table.write_text("user_id,book_id,stars\n")
    with pytest.raises(DataError, match=r"line 1: no column 'rating' among"):
        read_ratings(table, GoodreadsConfig())
    table.write_text("user_id,book_id,is_read,rating,is_reviewed\n0,1,1,5,0\n0,2,1,,0\n")
    with pytest.raises(DataError, match=r"line 3: no value for one of user_id, book_id, rating"):
        read_ratings(table, GoodreadsConfig())
    table.write_text("user_id,book_id,is_read,rating,is_reviewed\n0,1,1,5,0\n0,2,1,good,0\n")
    with pytest.raises(DataError, match="in the block from line 2"):
        read_ratings(table, GoodreadsConfig())


def test_books_that_are_not_there(tmp_path):
    folder = write(tmp_path, TEN, [book(name) for name in "abcdefg"])
    kept = read_goodreads(folder)
    assert kept.items.row(-1) == ("h", *[""] * 6)
    dropped = read_goodreads(folder, ImpressionConfig(unknown_items="drop"))
    assert as_words(dropped, "test") == {}
    with pytest.raises(DataError, match=r"book 'h' is not in .*goodreads_books_poetry"):
        read_goodreads(folder, ImpressionConfig(unknown_items="error"))
    write_lines(folder / "goodreads_books_poetry.json.gz", [book("z")])
    with pytest.raises(DataError, match="none of the 8 rated books is in it"):
        read_goodreads(folder)
    write_lines(folder / "goodreads_books_poetry.json.gz", [{"title": "nameless"}])
    with pytest.raises(DataError, match="line 1: 'book_id' is None"):
        read_goodreads(folder)


def test_which_file(tmp_path):
    with pytest.raises(DataError, match=r"no file of ratings .* name it in goodreads\.interactions"):
        read_goodreads(tmp_path)
    folder = write(tmp_path / "both", TEN)
    write_lines(folder / "goodreads_interactions_comics.json", [])
    with pytest.raises(DataError, match=r"several files of ratings .* name one in goodreads\.interactions"):
        read_goodreads(folder)
    named = ImpressionConfig(goodreads=GoodreadsConfig(interactions="goodreads_interactions_poetry.json.gz"))
    assert len(read_goodreads(folder, named).splits["train"]) == 2
    with pytest.raises(DataError, match=r"there is no such file; correct goodreads\.books"):
        read_goodreads(
            folder,
            ImpressionConfig(
                goodreads=GoodreadsConfig(interactions="goodreads_interactions_poetry.json.gz", books="b")
            ),
        )


def test_settings_that_cannot_be():
    with pytest.raises(ValueError, match=r"goodreads\.negative_below must not lie above"):
        GoodreadsConfig(positive_above=2, negative_below=4)
    with pytest.raises(ValueError, match=r"must rise between 0 and 1, got 0\.5, 0\.4 and 0\.9"):
        GoodreadsConfig(valid_from=0.4)
    with pytest.raises(ValueError, match=r"goodreads\.min_history must not be negative"):
        GoodreadsConfig(min_history=-1)


@pytest.mark.real_data
@pytest.mark.skipif(not PSEUDO_USERS.is_dir(), reason="goodreads is not under $GEN_REC_DATA")
def test_the_set_of_pseudo_users_has_no_ratings():
    with pytest.raises(DataError, match="holds sequences of items without ratings, so nothing says what was disliked"):
        read_goodreads(PSEUDO_USERS)
