"""Books out of the UCSD Goodreads files: titles, descriptions, authors, genres."""

from pathlib import Path
from typing import Any

import polars as pl

from gen_rec.data import columns as c
from gen_rec.data.lines import read_json_lines
from gen_rec.errors import DataError

COLUMNS = (c.ITEM_ID, c.TITLE, "authors", "description", "year", "categories")


def read_books(path: Path, wanted: set[str]) -> pl.DataFrame:
    """The books ``wanted``, in the order of the file, all columns text.

    Names of authors come from ``goodreads_book_authors.json(.gz)`` and genres from
    ``goodreads_book_genres_initial.json(.gz)`` beside ``path``; without these files the columns are empty.
    returns item_id, title, authors, description, year, categories (the most frequent genre first)
    raises  DataError, naming file and line.
    """
    rows: dict[str, tuple[str, ...]] = {}
    authors: dict[str, list[str]] = {}
    for number, book in read_json_lines(path):
        identifier = _identifier(path, number, book, "book_id")
        if identifier not in wanted or identifier in rows:
            continue
        authors[identifier] = [
            str(author.get("author_id", "")) for author in book.get("authors") or [] if not author.get("role")
        ]
        texts = [_text(book, name) for name in ("title", "description", "publication_year")]
        rows[identifier] = (texts[0], " ".join(texts[1].split()), texts[2])
    if not rows:
        raise DataError(f"{path}: none of the {len(wanted)} rated books is in it; take the books of the same set")
    names = _author_names(path.parent, {author for ids in authors.values() for author in ids})
    genres = _genres(path.parent, set(rows))
    table = [
        (book, title, ", ".join(filter(None, (names.get(author, "") for author in authors[book]))), description, year,
         genres.get(book, ""))
        for book, (title, description, year) in rows.items()
    ]  # fmt: skip
    return pl.DataFrame(table, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")


def _beside(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _author_names(folder: Path, wanted: set[str]) -> dict[str, str]:
    path = _beside(folder, "goodreads_book_authors.json")
    if path is None:
        return {}
    rows = ((_identifier(path, number, row, "author_id"), row) for number, row in read_json_lines(path))
    return {author: _text(row, "name") for author, row in rows if author in wanted}


def _genres(folder: Path, wanted: set[str]) -> dict[str, str]:
    path = _beside(folder, "goodreads_book_genres_initial.json")
    if path is None:
        return {}
    genres = {}
    for number, row in read_json_lines(path):
        book = _identifier(path, number, row, "book_id")
        if book in wanted:
            votes = row.get("genres") or {}
            genres[book] = "; ".join(sorted(votes, key=lambda genre: (-votes[genre], genre)))
    return genres


def _identifier(path: Path, number: int, row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise DataError(f"{path}, line {number}: {name!r} is {value!r}; every line needs it, mend or remove the line")
    return str(value)


def _text(row: dict[str, Any], name: str) -> str:
    return str(row.get(name) or "").strip()
