"""Which folders hold the impressions of a run, for each kind of set: what is read, and from which files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gen_rec.errors import DataError
from gen_rec.impressions.config import ImpressionConfig
from gen_rec.impressions.goodreads import BOOK_FILES, RATING_FILES, find_file, read_goodreads
from gen_rec.impressions.mind import read_mind
from gen_rec.impressions.table import ImpressionData

Kind = Literal["mind", "goodreads"]
BESIDE = ("goodreads_book_authors.json", "goodreads_book_genres_initial.json", "book_id_map.csv")
"""Further files of Goodreads, which may be missing."""


@dataclass(frozen=True)
class ImpressionSets:
    """Folders of MIND, one a split, or one folder of Goodreads, whose splits are cut by time.

    raises DataError for folders that the kind does not have.
    """

    kind: Kind
    train: Path
    valid: Path | None = None
    test: Path | None = None

    def __post_init__(self) -> None:
        if self.kind == "goodreads" and (self.valid or self.test):
            raise DataError(
                f"{self.valid or self.test}: Goodreads is one folder, whose ratings are cut into splits by time "
                "(impressions.goodreads.valid_from, test_from); give --train alone"
            )

    def learning_files(self, config: ImpressionConfig) -> list[Path]:
        """The files that decide what is learnt and which weights are kept. raises DataError where one is missing."""
        if self.kind == "mind":
            return [path for folder in (self.train, self.valid) if folder for path in _mind_files(folder)]
        named = config.goodreads
        ratings = find_file(self.train, named.interactions, RATING_FILES, "ratings", "goodreads.interactions")
        books = find_file(self.train, named.books, BOOK_FILES, "books", "goodreads.books")
        beside = [self.train / f"{name}{suffix}" for name in BESIDE for suffix in ("", ".gz")]
        return [ratings, books, *(path for path in beside if path.is_file())]

    def files_of(self, split: str, config: ImpressionConfig) -> list[Path]:
        """The files that decide the impressions of ``valid`` or ``test`` and the texts of their items."""
        return _mind_files(self.test) if split == "test" and self.test else self.learning_files(config)

    @property
    def scored(self) -> list[str]:
        """The splits that are scored."""
        if self.kind == "goodreads":
            return ["valid", "test"]
        return [split for split, folder in (("valid", self.valid), ("test", self.test)) if folder]

    def read(self, config: ImpressionConfig) -> ImpressionData:
        """The splits that are learnt from: ``train``, ``valid`` if there is one; of Goodreads ``test`` too."""
        if self.kind == "goodreads":
            return read_goodreads(self.train, config)
        return read_mind({"train": self.train} | ({"valid": self.valid} if self.valid else {}), config)

    def read_test(self, config: ImpressionConfig) -> ImpressionData:
        """The split ``test`` of MIND, with a table of items of its own, so that it changes nothing in training."""
        if self.test is None:
            raise DataError("there is no folder of test impressions; give --test")
        return read_mind({"test": self.test}, config)


def _mind_files(folder: Path) -> list[Path]:
    """``behaviors.tsv`` and ``news.tsv`` of a folder, as the reader takes them; the reader says what is missing."""
    found = []
    for kind in ("behaviors", "news"):
        paths = [path for path in (folder / f"{kind}.tsv", folder / f"{kind}.tsv.gz") if path.is_file()]
        if not paths:
            what = "no such folder" if not folder.is_dir() else f"no {kind}.tsv or {kind}.tsv.gz in it"
            raise DataError(f"{folder}: {what}; give a folder of MIND as it is unpacked, such as MINDsmall_train")
        found.append(paths[0])
    return found
