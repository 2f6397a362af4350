"""Settings of impression data: how MIND and Goodreads are read."""

from dataclasses import dataclass, field
from typing import Literal

from gen_rec.choices import check_choices

TEXTS = {"mind": "{title}. {abstract}", "goodreads": "{title}. {authors}. {description}"}
"""The template of an item's text when none is given; columns a set has not got are left out."""


@dataclass
class GoodreadsConfig:
    """How ratings of books become impressions: what was liked before a moment, and what was rated after it."""

    interactions: str | None = None
    """File of ratings in the set's folder (JSON lines or CSV, also gzipped); None means the only one that is there."""
    books: str | None = None
    """File of books in the set's folder; None means the only one that is there."""
    positive_above: float = 3.0
    """Ratings above this are positive."""
    negative_below: float = 3.0
    """Ratings below this are negative; what lies between, and the 0 of a book without a rating, is left out."""
    time: Literal["date_added", "date_updated", "read_at", "started_at"] = "date_added"
    """The date that says when a book was rated. Only ``date_added`` and ``date_updated`` are always there."""
    undated: Literal["error", "newest_first", "oldest_first"] = "error"
    """What to do with the CSV file, which has no dates: refuse it, or take each user's lines to be in this order. The
    cuts below are then shares of each user's own ratings."""
    train_from: float = 0.5
    """Share of all positive and negative ratings, by time, that lie before the training candidates: likes among them
    are the training histories."""
    valid_from: float = 0.8
    """Share of the ratings before the validation candidates."""
    test_from: float = 0.9
    """Share of the ratings before the test candidates."""
    min_history: int = 1
    """Users with fewer likes than this before a split get no impression in it."""

    def __post_init__(self) -> None:
        check_choices(self, "impressions.goodreads")
        if self.negative_below > self.positive_above:
            raise ValueError(
                "goodreads.negative_below must not lie above goodreads.positive_above, got "
                f"{self.negative_below} and {self.positive_above}: a rating between them would be both"
            )
        if not 0 < self.train_from < self.valid_from < self.test_from < 1:
            raise ValueError(
                "goodreads.train_from, valid_from and test_from must rise between 0 and 1, got "
                f"{self.train_from}, {self.valid_from} and {self.test_from}"
            )
        if self.min_history < 0:
            raise ValueError(f"goodreads.min_history must not be negative, got {self.min_history}")


@dataclass
class ImpressionConfig:
    """EmbSum alone on impression data (``gen-rec impressions``): what is read, and what a click is learnt against.

    The other settings are those of ``embsum``. Its ``uniform_negatives``, ``in_batch_negatives``, ``targets``, ``cuts``
    and ``training.selection`` are for histories without impressions and are not used; ``training.validation_users``
    are impressions here, and AUC is what is validated.
    """

    text: str | None = None
    """Template of an item's text over its columns (MIND: title, abstract, category, subcategory, categories; Goodreads:
    title, authors, description, year, categories). A field that is empty is left out with the words before it. None
    means ``{title}. {abstract}`` for MIND and ``{title}. {authors}. {description}`` for Goodreads."""
    unknown_items: Literal["keep", "drop", "error"] = "keep"
    """Items that occur and have no row in the file of items: keep them without a text, drop them from histories and
    candidates (figures are then not comparable), or refuse the data."""
    goodreads: GoodreadsConfig = field(default_factory=GoodreadsConfig)
    """How Goodreads is cut into impressions."""
    negatives: int = 4
    """Unclicked candidates of the same impression, drawn anew in each epoch for each click; of fewer, all."""
    uniform_negatives: int = 0
    """Items drawn from all that any training impression shows, which a batch shares as further negatives."""

    def __post_init__(self) -> None:
        check_choices(self, "impressions")
        for name in ("negatives", "uniform_negatives"):
            found = getattr(self, name)
            if found < 0:
                raise ValueError(f"impressions.{name} must not be negative, got {found}")
        if not self.negatives and not self.uniform_negatives:
            raise ValueError(
                "a click is learnt against something: set impressions.negatives or impressions.uniform_negatives"
            )
