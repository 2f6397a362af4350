"""AUC, MRR, nDCG@5 and nDCG@10 of impressions, as MIND's own evaluation defines them.

Each is worked out for one impression at a time and then averaged. With P clicked of n candidates, sorted by score:

    AUC     share of the pairs (clicked, not clicked) in which the clicked one has the higher score; equal: half a pair
    MRR     mean over all P clicked of 1 / rank, not only the first one
    nDCG@k  sum over the clicked with rank <= k of 1 / log2(rank + 1), divided by the same for ranks 1 .. min(P, k)

Ranks of equal scores: MIND's script sorts upwards and turns the result round, so that of two equal candidates the later
one ranks first, wherever the sort is stable. Its numpy sort is not always stable; here it is. MIND's script gets ranks
and not scores, so a file of ours (``evaluate.write_prediction``) has no ties for it to break.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

METRICS = ("auc", "mrr", "ndcg@5", "ndcg@10")
CUTS = (5, 10)
CHUNK = 2_000_000
"""Candidates that are sorted at a time; an impression is never cut."""


def candidate_ranks(offsets: NDArray[np.int64], scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Rank of each candidate in its impression, 1 for the highest score; of equal ones the later ranks first.

    offsets: (n + 1,); scores: (total,)
    returns  (total,) int64
    raises   ValueError for a score that is no number.
    """
    _check(offsets, scores)
    ranks = np.empty(len(scores), np.int64)
    for start, stop in _chunks(offsets):
        low, high = offsets[start], offsets[stop]
        lengths = np.diff(offsets[start : stop + 1])
        ranks[low:high] = _ranks(lengths, scores[low:high])
    return ranks


def impression_metrics(
    offsets: NDArray[np.int64], labels: NDArray[np.integer], scores: NDArray[np.floating]
) -> NDArray[np.float64]:
    """The metrics of every impression, in the order of ``METRICS``.

    offsets: (n + 1,); labels: (total,) 1 clicked, 0 not, -1 not known; scores: (total,)
    returns  (n, 4) float64; a row is NaN where the impression has not both a clicked and an unclicked candidate, or a
             label that is not known, for there the metrics mean nothing.
    raises   ValueError for a score that is no number.
    """
    _check(offsets, scores)
    if len(labels) != len(scores):
        raise ValueError(
            f"every candidate needs a label and a score; got {len(labels)} labels and {len(scores)} scores"
        )
    values = np.empty((len(offsets) - 1, len(METRICS)))
    for start, stop in _chunks(offsets):
        low, high = offsets[start], offsets[stop]
        lengths = np.diff(offsets[start : stop + 1])
        values[start:stop] = _metrics(lengths, labels[low:high], scores[low:high])
    return values


def _ranks(lengths: NDArray[np.int64], scores: NDArray[np.floating]) -> NDArray[np.int64]:
    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(scores))
    order = np.lexsort((-place, -scores, row))  # by impression, then falling score, then later first
    ranks = np.empty(len(scores), np.int64)
    ranks[order] = place - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    return ranks


def _metrics(lengths: NDArray[np.int64], labels: np.ndarray, scores: np.ndarray) -> NDArray[np.float64]:
    """(n,), (total,), (total,) -> (n, 4)"""
    n = len(lengths)
    row = np.repeat(np.arange(n), lengths)
    ranks = _ranks(lengths, scores)
    clicked = labels == 1
    at, rank = row[clicked], ranks[clicked].astype(np.float64)  # of the clicked candidates
    n_clicked = np.bincount(at, minlength=n)
    n_unclicked = np.bincount(row[labels == 0], minlength=n)

    values = np.empty((n, len(METRICS)))
    with np.errstate(divide="ignore", invalid="ignore"):
        # ranks from below, equal ones sharing their mean: their sum over the clicked is Mann and Whitney's U + P(P+1)/2
        from_below = lengths[at] + 1 - _mean_ranks(row, ranks, scores)[clicked]
        pairs_won = np.bincount(at, from_below, minlength=n) - n_clicked * (n_clicked + 1) / 2
        values[:, 0] = pairs_won / (n_clicked * n_unclicked)
        values[:, 1] = np.bincount(at, 1 / rank, minlength=n) / n_clicked
        for column, cut in enumerate(CUTS, start=2):
            gain = np.where(rank <= cut, 1 / np.log2(rank + 1), 0.0)
            best = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(cut) + 2))])  # of 0 .. cut clicked
            values[:, column] = np.bincount(at, gain, minlength=n) / best[np.minimum(n_clicked, cut)]
    values[(n_clicked == 0) | (n_unclicked == 0) | (n_clicked + n_unclicked < lengths)] = np.nan
    return values


def _mean_ranks(row: np.ndarray, ranks: NDArray[np.int64], scores: np.ndarray) -> NDArray[np.float64]:
    """Ranks in which equal scores of an impression share the mean of their ranks. All (total,)."""
    order = np.lexsort((ranks, row))
    sorted_row, sorted_scores, sorted_ranks = row[order], scores[order], ranks[order]
    new = np.ones(len(order), bool)
    new[1:] = (sorted_row[1:] != sorted_row[:-1]) | (sorted_scores[1:] != sorted_scores[:-1])
    starts = np.flatnonzero(new)
    sizes = np.diff(np.append(starts, len(order)))
    shared = np.empty(len(order))
    shared[order] = np.repeat(sorted_ranks[starts] + (sizes - 1) / 2, sizes)
    return shared


def _chunks(offsets: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ranges of whole impressions of about ``CHUNK`` candidates each."""
    n = len(offsets) - 1
    cuts = np.searchsorted(offsets, np.arange(offsets[0], offsets[-1], CHUNK), side="left")
    bounds = np.unique(np.concatenate([[0], cuts[cuts < n], [n]]))
    return [(int(low), int(high)) for low, high in pairwise(bounds)]


def _check(offsets: NDArray[np.int64], scores: np.ndarray) -> None:
    if len(scores) != offsets[-1]:
        raise ValueError(f"every candidate needs a score; got {len(scores)} scores for {offsets[-1]} candidates")
    bad = np.flatnonzero(np.isnan(scores))
    if len(bad):
        row = int(np.searchsorted(offsets, bad[0], side="right")) - 1
        raise ValueError(f"{len(bad)} scores are not numbers, the first in impression {row} (from 0)")
