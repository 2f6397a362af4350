"""Reader of Goodreads (UCSD Book Graph): impressions out of ratings.

Time is cut into before, train, valid and test. A user's impression in a split is everything that the user liked or
disliked in that time, in order, as candidates; its history is what the user liked before that time. No history then
holds anything that happened after a candidate of its split, of any user.
"""

import logging
from pathlib import Path

import numpy as np
import polars as pl

from gen_rec.data import columns as c
from gen_rec.data.interactions import Sequences, offsets_of
from gen_rec.data.text import item_texts
from gen_rec.errors import DataError
from gen_rec.impressions.books import read_books
from gen_rec.impressions.config import TEXTS, GoodreadsConfig, ImpressionConfig
from gen_rec.impressions.ratings import Ratings, read_ratings
from gen_rec.impressions.table import NO_TIME, ImpressionData, Impressions, ItemRows

logger = logging.getLogger(__name__)

RATING_FILES = ("goodreads_interactions*.json*", "goodreads_reviews*.json*", "goodreads_interactions*.csv*")
BOOK_FILES = ("goodreads_books*.json*",)
SPLITS = ("train", "valid", "test")


def read_goodreads(folder: str | Path, config: ImpressionConfig | None = None) -> ImpressionData:
    """Read ratings and books as the splits train, valid and test.

    returns  items with the columns item_id, title, text, and what ``books.read_books`` gives
    raises   DataError, naming file and line, or what is missing.
    """
    config = config or ImpressionConfig()
    folder = Path(folder)
    ratings_file = find_file(folder, config.goodreads.interactions, RATING_FILES, "ratings", "goodreads.interactions")
    books_file = find_file(folder, config.goodreads.books, BOOK_FILES, "books", "goodreads.books")
    ratings = read_ratings(ratings_file, config.goodreads)
    if not ratings.dated:
        ratings = Ratings(_with_book_ids(folder, ratings.frame), ratings.counts)
    frame = _moments(ratings, ratings_file, config.goodreads)
    ids = frame["book_id"].unique(maintain_order=True)
    books = read_books(books_file, set(ids))
    rows = ItemRows(books[c.ITEM_ID], config.unknown_items)
    book = rows.rows(frame["book_id"])
    if config.unknown_items == "error" and (book < 0).any():
        raise DataError(
            f"{ratings_file}: book {frame['book_id'][int((book < 0).argmax())]!r} is not in {books_file}; take the "
            "files of one genre, or set unknown_items to keep or drop"
        )
    frame = frame.with_columns(book=book).filter(pl.col("book") >= 0)
    splits, counts = {}, {}
    for split in SPLITS:
        splits[split], counts[split] = _split(frame, split, config.goodreads)
        logger.info("%s, %s: %s", folder, split, ", ".join(f"{count} {name}" for name, count in counts[split].items()))
    items = rows.table(books)
    text = item_texts(items, config.text or TEXTS["goodreads"], origin=str(books_file)).alias(c.TEXT)
    first = [items[c.ITEM_ID], items[c.TITLE], text]
    items = pl.DataFrame([*first, *items.drop(c.ITEM_ID, c.TITLE).get_columns()])
    return ImpressionData(items, splits, {"read": ratings.counts} | counts)


def find_file(folder: Path, named: str | None, patterns: tuple[str, ...], what: str, setting: str) -> Path:
    """The named file of a folder, or the only one of the first pattern that any has.

    raises DataError where there is none, or several.
    """
    if named is not None:
        if (folder / named).is_file():
            return folder / named
        raise DataError(f"{folder / named}: there is no such file; correct {setting}")
    for pattern in patterns:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if len(found) > 1:
            raise DataError(
                f"{folder}: several files of {what} ({', '.join(path.name for path in found)}); name one in {setting}"
            )
        if found:
            return found[0]
    if any(folder.glob("sequences.txt*")):
        raise DataError(
            f"{folder}: holds sequences of items without ratings, so nothing says what was disliked; give the files of "
            "the UCSD Book Graph, or use this set for next-item runs (gen-rec prepare)"
        )
    raise DataError(
        f"{folder}: no file of {what} ({', '.join(patterns)}); download one of the UCSD Book Graph, or name it in "
        f"{setting}"
    )


def _with_book_ids(folder: Path, frame: pl.DataFrame) -> pl.DataFrame:
    """The CSV file's own ids of books replaced by those that the file of books has."""
    path = next(
        (folder / name for name in ("book_id_map.csv", "book_id_map.csv.gz") if (folder / name).is_file()), None
    )
    if path is None:
        raise DataError(
            f"{folder}: no book_id_map.csv, and the CSV file of ratings has ids of its own; download it too"
        )
    names = pl.read_csv(path, schema_overrides={"book_id_csv": pl.String, "book_id": pl.String})
    absent = {"book_id_csv", "book_id"} - set(names.columns)
    if absent:
        raise DataError(f"{path}: no column {', '.join(sorted(absent))} among {names.columns}; download it again")
    joined = frame.rename({"book_id": "book_id_csv"}).join(names, on="book_id_csv", how="left", maintain_order="left")
    if joined["book_id"].null_count():
        lost = joined["book_id_csv"].filter(joined["book_id"].is_null())
        raise DataError(f"{path}: no row for book {lost[0]!r} of the ratings ({len(lost)} ratings); download it again")
    return joined


def _moments(ratings: Ratings, path: Path, config: GoodreadsConfig) -> pl.DataFrame:
    """The ratings sorted by user and time, with the number of each "user" and the "part" of time of each rating.

    Part 0 lies before the training candidates, 1, 2, 3 are the splits. Of a book that a user rated twice, the first.
    """
    cuts = [config.train_from, config.valid_from, config.test_from]
    frame = ratings.frame.with_columns(user=pl.col("user_id").rank("dense").cast(pl.Int32) - 1)
    if ratings.dated:
        frame = frame.sort("user", "time", maintain_order=True)
    elif config.undated == "error":
        raise DataError(
            f"{path}: has no dates, so nothing says what came first; take goodreads_interactions_dedup.json.gz or the "
            "file of a genre, or set goodreads.undated to the order that you know its lines to be in"
        )
    else:
        frame = frame if config.undated == "oldest_first" else frame.reverse()
        frame = frame.sort("user", maintain_order=True)
    frame = frame.unique(["user", "book_id"], keep="first", maintain_order=True)
    if ratings.dated:  # equal times share the lowest place, so a cut never parts them
        share = (pl.col("time").rank("min") - 1) / pl.len()
    else:
        share = pl.int_range(pl.len()).over("user") / pl.len().over("user")
    places = frame.select(share=share)["share"].to_numpy()
    return frame.with_columns(part=pl.Series(np.searchsorted(cuts, places, side="right")))


def _split(frame: pl.DataFrame, split: str, config: GoodreadsConfig) -> tuple[Impressions, dict[str, int]]:
    """The impressions of a split. frame: as ``_moments`` gives it, with the row of each "book"."""
    part = SPLITS.index(split) + 1
    likes = frame.filter((pl.col("part") < part) & (pl.col("label") == 1)).group_by("user").agg(history="book")
    later = frame.filter(pl.col("part") == part)
    shown = later.group_by("user", maintain_order=True).agg(
        pl.col("user_id").first(), pl.col("time").first(), candidates="book", labels="label"
    )
    rows = shown.join(likes, on="user", how="left", maintain_order="left")
    rows = rows.with_columns(pl.col("history").fill_null(pl.lit([], pl.List(pl.Int32))))
    kept = rows.filter(pl.col("history").list.len() >= config.min_history)
    n = len(kept)
    own = np.arange(n)
    histories = Sequences(_offsets(kept["history"]), _flat(kept["history"], np.int32), own.astype(np.int32))
    impressions = Impressions(
        np.array([f"{split}-{user}" for user in kept["user_id"]], dtype=object), kept["user_id"].to_numpy(),
        own.astype(np.int32), kept["time"].fill_null(NO_TIME).to_numpy(), histories, own,
        _offsets(kept["candidates"]), _flat(kept["candidates"], np.int32), _flat(kept["labels"], np.int8),
    )  # fmt: skip
    counts = {
        "impressions": n,
        "liked": int(impressions.labels.sum()),
        "disliked": int((impressions.labels == 0).sum()),
        "users without enough likes before": len(rows) - n,
    }
    return impressions, counts


def _offsets(lists: pl.Series) -> np.ndarray:
    return offsets_of(lists.list.len().to_numpy())


def _flat(lists: pl.Series, kind: type) -> np.ndarray:
    return lists.explode().drop_nulls().to_numpy().astype(kind)
