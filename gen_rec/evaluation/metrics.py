"""Ranks of the target in ranked lists, and the two figures made from them: Recall and NDCG.

A user has one target, so both figures follow from its rank alone: Recall@k is 1 where the rank is at most k,
and NDCG@k is 1 / log2(1 + rank) there; elsewhere both are 0. Everything that comes later (means, slices,
intervals) works on the ranks, never on the lists again.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

CUTS: tuple[int, ...] = (5, 10, 20)
"""The lengths at which the benchmark protocol cuts a list."""

MISS: int = 2**31 - 1
"""The rank of a target that is not in its list. Larger than any cut, and it fits a 32-bit integer."""


class RankedLists(NamedTuple):
    """Ranked lists of a batch of users, as NumPy arrays.

    items:  (n, k) int64, best first; -1 where there is nothing
    scores: (n, k) float, the larger the better; ignored where there is no item
    """

    items: np.ndarray
    scores: np.ndarray


def as_array(values: Any) -> np.ndarray:
    """A NumPy view of an array or of a tensor on any device; bfloat16, which NumPy lacks, becomes float32."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = (values.float() if str(values.dtype) == "torch.bfloat16" else values).numpy()
    return np.asarray(values)


def as_lists(lists: Any) -> RankedLists:
    """Anything with ``items`` and ``scores`` (``indexing.Ranked``, ``indexing.Fused``) as NumPy arrays,
    checked.

    lists:   ``items`` (n, k) and ``scores`` (n, k), arrays or tensors on any device
    returns  RankedLists over the same data
    raises   ValueError where the shapes differ or a listed item has a score that is not a number.
    """
    items, scores = as_array(lists.items), as_array(lists.scores)
    if items.ndim != 2 or items.shape != scores.shape:
        raise ValueError(
            f"ranked lists need items and scores of one shape (n, k); got {items.shape} and {scores.shape}"
        )
    if not np.issubdtype(items.dtype, np.integer):
        raise ValueError(f"ranked lists need whole numbers as items, got {items.dtype}; give item rows, -1 for none")
    broken = np.isnan(scores) & (items >= 0) if np.isnan(scores.min(initial=np.inf)) else scores[:0]  # (n, k)
    if broken.any():
        row, column = np.argwhere(broken)[0]
        raise ValueError(
            f"ranked lists, row {row}, rank {column + 1}: item {items[row, column]} has the score NaN; "
            "a score must be a number (look for a division by zero or a softmax over nothing in the model)"
        )
    return RankedLists(items, scores)


def target_ranks(items: np.ndarray, scores: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rank of each user's target, behind every other item with an equal score.

    items:   (n, k) int, -1 where there is nothing
    scores:  (n, k) float
    target:  (n,) int
    returns  (n,) int64, from 1; ``MISS`` where the target is not listed (or is -1).

    Only listed items can be counted. Where a list is longer than the largest cut this is exact: a target tied
    with an item beyond the end of the list is tied with the list's last item, so it ranks beyond every cut
    anyway.
    """
    target = np.asarray(target)
    found = items == target[:, None]  # (n, k)
    ranks = np.full(len(items), MISS, dtype=np.int64)
    rows = np.flatnonzero(found.any(1) & (target >= 0))  # most targets are not listed: look closer at the others only
    if len(rows):
        own = scores[rows, found[rows].argmax(1)]  # (hits,)
        ranks[rows] = ((scores[rows] >= own[:, None]) & (items[rows] >= 0)).sum(1)
    return ranks


def open_ties(items: np.ndarray, scores: np.ndarray, ranks: np.ndarray, cut: int) -> np.ndarray:
    """Users whose rank inside ``cut`` might be worse, because a tie may go on beyond the end of a full list.

    items:   (n, k) int, -1 where there is nothing
    scores:  (n, k) float
    ranks:   (n,) what ``target_ranks`` made of them
    returns  (n,) bool. Always False where k > cut: ask for one item more than the largest cut to be exact.
    """
    if not 0 < items.shape[1] <= cut:
        return np.zeros(len(items), dtype=bool)
    full = (items >= 0).all(1)  # (n,)
    return full & (ranks == items.shape[1])


def recall_at(ranks: np.ndarray, cut: int) -> np.ndarray:
    """Recall@cut of each user. ranks: (n,) from 1; returns (n,) float64, 0 or 1."""
    return (ranks <= cut).astype(np.float64)


def ndcg_at(ranks: np.ndarray, cut: int) -> np.ndarray:
    """NDCG@cut of each user with one target: 1 / log2(1 + rank) inside the cut, else 0.

    ranks: (n,) from 1; returns (n,) float64.
    """
    inside = ranks <= cut
    return inside / np.log2(1.0 + np.maximum(ranks, 1))


def metric_names(cuts: Sequence[int] = CUTS) -> list[str]:
    """The keys of a metrics table, in the order of the protocol: recall@5 ... ndcg@20."""
    return [f"{name}@{cut}" for name in ("recall", "ndcg") for cut in cuts]


def gains(cuts: Sequence[int] = CUTS) -> np.ndarray:
    """What a rank is worth in each metric.

    returns  (max(cuts) + 2, 2 * len(cuts)) float64: row r is rank r, row 0 is unused, the last row is a miss;
             columns as ``metric_names``. The metrics of any group of users are ``histogram @ gains / n``.
    """
    ranks = np.arange(max(cuts) + 2)
    table = np.stack([recall_at(ranks, cut) for cut in cuts] + [ndcg_at(ranks, cut) for cut in cuts], axis=1)
    table[0] = 0.0
    return table


def clip_ranks(ranks: np.ndarray, cuts: Sequence[int] = CUTS) -> np.ndarray:
    """Ranks with everything beyond the largest cut made equal: (n,) int64 in 1 .. max(cuts) + 1."""
    return np.minimum(ranks, max(cuts) + 1).astype(np.int64)


def retrieval_metrics(ranks: np.ndarray, cuts: Sequence[int] = CUTS) -> dict[str, float]:
    """Mean Recall and NDCG over users.

    ranks:   (n,) from 1, ``MISS`` for a miss
    returns  ``{"recall@5": ..., "recall@10": ..., ..., "ndcg@20": ...}``
    raises   ValueError for no users: the mean of nothing is not zero.
    """
    if len(ranks) == 0:
        raise ValueError("metrics of no users are not defined; the split has no test case (too few interactions?)")
    histogram = np.bincount(clip_ranks(ranks, cuts), minlength=max(cuts) + 2)
    means = histogram @ gains(cuts) / len(ranks)
    return dict(zip(metric_names(cuts), means.tolist(), strict=True))
