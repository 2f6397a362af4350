"""Candidates of the last ranking: what the fused search found, and what the item graph leads to."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from gen_rec.data.interactions import Sequences
from gen_rec.evaluation.filtering import seen_mask


class Candidates(NamedTuple):
    """The items that are ranked anew, one list a user, in the order of their rows in the catalogue.

    items: (rows, c) int64, -1 after the end of a list
    seen:  (rows, c) bool, whether the item is in the user's history
    """

    items: NDArray[np.int64]
    seen: NDArray[np.bool_]

    @property
    def real(self) -> NDArray[np.bool_]:
        """(rows, c) where there is an item."""
        return self.items >= 0

    @property
    def unseen(self) -> NDArray[np.bool_]:
        """(rows, c) where there is an item that is not in the history: what a filtered list may hold."""
        return self.real & ~self.seen


def gather_candidates(histories: Sequences, lists: list[NDArray[np.int64]]) -> Candidates:
    """The union of several lists.

    histories: of the same rows
    lists:     each (rows, m) int64, -1 for nothing; give each source twice, cut with and without the items of the
               history, and the union holds all that either ranking needs
    """
    items = union(lists)
    return Candidates(items, seen_mask(items, histories))


def union(lists: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Each row's items, once each and ascending. Lists (rows, m); returns (rows, c), -1 after the end."""
    items = np.sort(np.concatenate(lists, axis=1), axis=1)  # (rows, sum of m), -1 first
    new = items >= 0
    new[:, 1:] &= items[:, 1:] != items[:, :-1]
    width = max(1, int(new.sum(1).max(initial=0)))
    order = np.argsort(~new, axis=1, kind="stable")[:, :width]  # kept items first, still ascending
    return np.where(np.take_along_axis(new, order, 1), np.take_along_axis(items, order, 1), -1)


def graph_candidates(scores: NDArray[np.float32], histories: Sequences, k: int) -> list[NDArray[np.int64]]:
    """The k nearest neighbours of each history in the graph: with the history's own items, and without.

    scores:  (rows, n_items) from ``ItemGraph``; items with 0 are no neighbours. The array is changed.
    returns  two (rows, k) int64, -1 where there are fewer.
    """
    k = min(k, scores.shape[1])
    table = torch.from_numpy(scores)
    found = []
    for filtered in (False, True):
        if filtered:
            row = np.repeat(np.arange(len(histories)), histories.lengths)
            scores[row, histories.items] = 0.0
        best = table.topk(k, dim=1)
        found.append(torch.where(best.values > 0, best.indices, -1).numpy())
    return found
