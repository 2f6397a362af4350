"""Impressions: who was shown which items, after which history, and which of them were clicked."""

import logging
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gen_rec.data import columns as c
from gen_rec.data.interactions import Sequences, offsets_of, ranges

logger = logging.getLogger(__name__)

UNLABELLED = -1
"""The label of a candidate of which it is not known whether it was clicked, as in a test set."""
NO_TIME = np.iinfo(np.int64).min
"""The time of an impression of which none is known."""


@dataclass(frozen=True)
class Impressions:
    """Lists of candidates. Those of impression i are ``candidates[offsets[i]:offsets[i + 1]]``, in the order shown.

    ids:        (n,) object      what the source calls the impressions
    user_ids:   (users,) object  external ids
    user:       (n,) int32       row in ``user_ids``
    times:      (n,) int64       Unix seconds, or ``NO_TIME``
    histories:  distinct histories, each with its user; item rows, oldest first, maybe none
    history:    (n,) int64       which of ``histories`` an impression has
    offsets:    (n + 1,) int64
    candidates: (total,) int32   rows of the items table
    labels:     (total,) int8    1 clicked, 0 not, ``UNLABELLED``
    """

    ids: np.ndarray
    user_ids: np.ndarray
    user: NDArray[np.int32]
    times: NDArray[np.int64]
    histories: Sequences
    history: NDArray[np.int64]
    offsets: NDArray[np.int64]
    candidates: NDArray[np.int32]
    labels: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Candidates of every impression, (n,)."""
        return np.diff(self.offsets)

    @property
    def impression_of(self) -> NDArray[np.int64]:
        """The impression that each candidate belongs to, (total,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def history_of(self, index: int) -> NDArray[np.int32]:
        """The item rows of an impression's history, oldest first."""
        return self.histories[int(self.history[index])]

    def take(self, rows: NDArray[np.integer]) -> "Impressions":
        """The impressions ``rows`` (k,), in that order; users and histories are kept as they are."""
        lengths = self.lengths[rows]
        places = ranges(self.offsets[:-1][rows], lengths)
        return Impressions(
            self.ids[rows], self.user_ids, self.user[rows], self.times[rows], self.histories, self.history[rows],
            offsets_of(lengths), self.candidates[places], self.labels[places],
        )  # fmt: skip


@dataclass(frozen=True)
class ImpressionData:
    """A set of impressions in its splits, over one table of items.

    items:  row i is item i: ``item_id``, ``title``, ``text``, and what else the source knew
    splits: such as ``train`` and ``valid``
    counts: what was read and left out, a dictionary a split, for a person to read
    """

    items: pl.DataFrame
    splits: dict[str, Impressions]
    counts: dict[str, dict[str, int]] = field(default_factory=dict)


class ItemRows:
    """Gives ids of items their rows: those of a table first, then, if wanted, unknown ones as they turn up."""

    def __init__(self, ids: pl.Series, unknown: Literal["keep", "drop", "error"]) -> None:
        """ids: (n,) String, distinct; id i has row i"""
        self.n_known = len(ids)
        self.unknown = unknown
        self._rows = pl.DataFrame({c.ITEM_ID: ids, "row": np.arange(len(ids), dtype=np.int32)})

    @property
    def ids(self) -> pl.Series:
        """All ids so far, by row."""
        return self._rows[c.ITEM_ID]

    def rows(self, ids: pl.Series) -> NDArray[np.int32]:
        """Rows of ids, (n,) String -> (n,) int32; -1 for an unknown id, unless unknown ones are kept."""
        asked = pl.DataFrame({c.ITEM_ID: ids})
        found = asked.join(self._rows, on=c.ITEM_ID, how="left", maintain_order="left")["row"]
        if self.unknown == "keep" and found.null_count():
            new = asked.filter(found.is_null()).unique(maintain_order=True)
            start = len(self._rows)
            new = new.with_columns(row=pl.Series(np.arange(start, start + len(new), dtype=np.int32)))
            self._rows = pl.concat([self._rows, new])
            found = asked.join(self._rows, on=c.ITEM_ID, how="left", maintain_order="left")["row"]
        return found.fill_null(-1).to_numpy()

    def table(self, items: pl.DataFrame) -> pl.DataFrame:
        """``items`` with a row for each unknown id behind the known ones; its columns, all text, are empty there."""
        new = self._rows.select(c.ITEM_ID).slice(self.n_known)
        if not len(new):
            return items
        logger.warning("%d of %d items have no row in the file of items: kept without a text", len(new), len(self.ids))
        return pl.concat([items, new], how="diagonal").with_columns(pl.col(pl.String).fill_null(""))


def lists_without(offsets: NDArray[np.int64], keep: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Offsets of ragged lists after entries were dropped. offsets: (n + 1,); keep: (total,); returns (n + 1,) int64"""
    return np.concatenate([[0], np.cumsum(keep)])[offsets].astype(np.int64)
