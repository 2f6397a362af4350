"""What is recommended to those of whom nothing is known: the most popular items of the training part.

No model here learns from an empty history, so what one says of it means nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen_rec.evaluation.metrics import RankedLists, as_lists


@dataclass(frozen=True)
class Popular:
    """The whole catalogue by popularity.

    items:  (n_items,) int64, most popular first, equal ones by row
    scores: (n_items,) float32, the log of each one's share of the interactions, with one more for each item
    """

    items: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def of(cls, counts: NDArray[np.integer]) -> "Popular":
        """counts: (n_items,) interactions of each item in training"""
        items = np.argsort(-counts, kind="stable")
        shares = (counts[items] + 1) / (counts.sum() + len(counts))
        return cls(items.astype(np.int64), np.log(shares).astype(np.float32))

    def top(self, k: int) -> RankedLists:
        """One list of k places, (1, k); -1 where the catalogue has fewer."""
        n = min(k, len(self.items))
        found = RankedLists(np.full((1, k), -1, dtype=np.int64), np.full((1, k), -np.inf, dtype=np.float32))
        found.items[0, :n], found.scores[0, :n] = self.items[:n], self.scores[:n]
        return found

    def fill(self, lists: Mapping[str, Any], empty: NDArray[np.bool_]) -> dict[str, Any]:
        """Lists by method, with these items in the rows that have no history.

        lists: ``items`` and ``scores``, (rows, k) each, as ``as_lists`` takes them; returned as they are where no
               history is empty
        empty: (rows,) whose history is
        """
        if not empty.any():
            return dict(lists)
        filled = {}
        for name, given in lists.items():
            found = as_lists(given)
            own = self.top(found.items.shape[1])
            row = empty[:, None]
            filled[name] = RankedLists(np.where(row, own.items, found.items), np.where(row, own.scores, found.scores))
        return filled
