"""Removing what a user has already had from a ranked list, before it is cut."""

from typing import TYPE_CHECKING

import numpy as np

from gen_rec.evaluation.metrics import RankedLists

if TYPE_CHECKING:
    from gen_rec.data.interactions import Sequences


def ragged_rows(offsets: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the entries of some rows of a ragged array lie.

    offsets: (n + 1,) int64, row r owns entries offsets[r]:offsets[r + 1]
    rows:    (m,) int64 the rows wanted, in any order
    returns  (total,) position among the rows wanted, 0..m-1, and (total,) index of the entry.
    """
    lengths = offsets[rows + 1] - offsets[rows]  # (m,)
    position = np.repeat(np.arange(len(rows)), lengths)  # (total,)
    starts = np.cumsum(lengths) - lengths  # (m,) where each row starts in the answer
    entry = np.arange(len(position)) - np.repeat(starts - offsets[rows], lengths)  # (total,)
    return position, entry


def seen_mask(items: np.ndarray, cases: "Sequences", rows: np.ndarray | None = None) -> np.ndarray:
    """Which listed items are in their user's history.

    items:   (n, k) int, -1 where there is nothing
    cases:   the histories, ragged
    rows:    (n,) the case of each list; None for list i being case i
    returns  (n, k) bool, False where there is nothing.
    """
    rows = np.arange(len(items)) if rows is None else np.asarray(rows)
    if len(rows) != len(items):
        raise ValueError(f"seen_mask got {len(items)} lists and {len(rows)} rows; give one row a list")
    position, entry = ragged_rows(cases.offsets, rows)
    if len(position) == 0 or items.size == 0:
        return np.zeros(items.shape, dtype=bool)
    history = cases.items[entry].astype(np.int64)  # (total,)
    width = int(max(history.max(), items.max())) + 1
    keys = np.sort(position * width + history)  # (total,) pairs of list and item
    wanted = np.arange(len(items))[:, None] * width + items  # (n, k)
    found = np.searchsorted(keys, wanted)
    found = np.minimum(found, len(keys) - 1)
    return (keys[found] == wanted) & (items >= 0)


def filter_seen(
    items: np.ndarray,
    scores: np.ndarray,
    cases: "Sequences",
    k: int,
    rows: np.ndarray | None = None,
    n_items: int | None = None,
) -> RankedLists:
    """Remove every item of the user's history, then cut the list at k.

    The target goes too where it is in the history, so it becomes a miss: that is the protocol's "filtered".

    items:   (n, m) int64, best first, -1 where there is nothing
    scores:  (n, m) float
    cases:   the histories, ragged
    k:       entries kept; the answer is padded with -1 and -inf
    rows:    (n,) the case of each list; None for list i being case i
    n_items: size of the catalogue, only to tell a list that names every item from one that was cut too early
    returns  (n, k) items and scores
    raises   ValueError where a list was cut so early that fewer than k items are left of it although the
             catalogue has more: the filtered figures would come out too low. Ask for k + the longest history,
             or let the search itself exclude the history.
    """
    items = np.asarray(items)
    scores = np.asarray(scores)
    gone = seen_mask(items, cases, rows)  # (n, m)
    kept = (items >= 0) & ~gone
    short = (kept.sum(1) < k) & (items >= 0).all(1) & (n_items is None or items.shape[1] < n_items)
    if items.shape[1] and short.any():
        row = int(np.flatnonzero(short)[0])
        raise ValueError(
            f"filter_seen: list {row} names {items.shape[1]} items, {int(kept[row].sum())} of them unseen, "
            f"and {k} are wanted; ask for a list of k + the length of the longest history (or pass n_items "
            "if the list already names the whole catalogue)"
        )
    order = np.argsort(~kept, axis=1, kind="stable")[:, :k]  # (n, min(k, m)) what is kept first, in its old order
    kept = np.take_along_axis(kept, order, 1)
    new_items = np.full((len(items), k), -1, dtype=np.int64)
    new_scores = np.full((len(items), k), -np.inf, dtype=scores.dtype)
    new_items[:, : order.shape[1]] = np.where(kept, np.take_along_axis(items, order, 1), -1)
    new_scores[:, : order.shape[1]] = np.where(kept, np.take_along_axis(scores, order, 1), -np.inf)
    return RankedLists(new_items, new_scores)
