"""Evaluation as it is usually written first: one user after the other, lists and dictionaries.

The bootstrap is the usual one too: draw as many users as there are, with replacement, and take the mean. ``numpy``
says who takes the means: NumPy, a resample at a time (what most people would write), or plain Python.
"""

import math
import random
from collections.abc import Mapping, Sequence

import numpy as np

from gen_rec.evaluation.metrics import RankedLists

Figures = dict[str, float]
Intervals = dict[str, list[float]]


def evaluate_users(
    lists: Mapping[str, Mapping[str, RankedLists]],
    target: np.ndarray,
    cuts: Sequence[int],
    resamples: int,
    numpy: bool = True,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, dict[str, tuple[Figures, Intervals]]]:
    """Recall and NDCG of every method and mode, with intervals.

    lists:   mode -> method -> (n, k) items and scores
    target:  (n,) the item of each user that is to be found
    returns  mode -> method -> (figures, intervals), named as ``metrics.metric_names`` does.
    """
    names = [f"{name}@{cut}" for name in ("recall", "ndcg") for cut in cuts]
    found: dict[str, dict[str, tuple[Figures, Intervals]]] = {}
    for mode, methods in lists.items():
        found[mode] = {}
        for method, ranked in methods.items():
            rows = []
            users = zip(ranked.items.tolist(), ranked.scores.tolist(), target.tolist(), strict=True)
            for items, scores, wanted in users:
                rows.append(user_figures(rank_of(items, scores, wanted), cuts))
            means = {name: sum(row[i] for row in rows) / len(rows) for i, name in enumerate(names)}
            resample = resampled_with_numpy if numpy else resampled
            bounds = percentiles(resample(rows, resamples, seed), level)
            found[mode][method] = means, dict(zip(names, bounds, strict=True))
    return found


def rank_of(items: list[int], scores: list[float], wanted: int) -> int | None:
    """Rank of the target from 1, behind everything with the same score; None where it is not listed."""
    if wanted not in items:
        return None
    own = scores[items.index(wanted)]
    return sum(score >= own for item, score in zip(items, scores, strict=True) if item >= 0)


def user_figures(rank: int | None, cuts: Sequence[int]) -> list[float]:
    """Recall at every cut, then NDCG at every cut, of one user with one target."""
    if rank is None:
        return [0.0] * (2 * len(cuts))
    gain = 1 / math.log2(1 + rank)
    return [float(rank <= cut) for cut in cuts] + [gain if rank <= cut else 0.0 for cut in cuts]


def resampled_with_numpy(rows: list[list[float]], resamples: int, seed: int) -> np.ndarray:
    """(resamples, figures) means over users drawn with replacement."""
    rng = np.random.default_rng(seed)
    values = np.array(rows)  # (n, figures)
    return np.stack([values[rng.integers(len(values), size=len(values))].mean(0) for _ in range(resamples)])


def resampled(rows: list[list[float]], resamples: int, seed: int) -> np.ndarray:
    """The same without NumPy."""
    rng = random.Random(seed)
    means = []
    for _ in range(resamples):
        drawn = rng.choices(rows, k=len(rows))
        means.append([sum(column) / len(drawn) for column in zip(*drawn, strict=True)])
    return np.array(means)


def percentiles(means: np.ndarray, level: float) -> list[list[float]]:
    """[low, high] of every figure."""
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [list(bounds) for bounds in zip(low.tolist(), high.tolist(), strict=True)]
