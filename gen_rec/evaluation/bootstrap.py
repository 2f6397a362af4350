"""Percentile bootstrap over users: how far a figure could be off, and whether one ranking beats another.

A user counts only through the rank of the target, and ranks beyond the largest cut are worth the same. So
drawing n users with replacement is drawing n times from the histogram of at most max(cuts) + 1 different
ranks (of pairs of ranks when two rankings are compared): a multinomial over a few dozen cells, with exactly
the distribution of the usual resampling of users and none of its cost.
"""

from collections.abc import Sequence

import numpy as np

from gen_rec.evaluation.metrics import CUTS, clip_ranks, gains, metric_names

RESAMPLES = 2000
"""Resamples drawn for an interval; its ends then move by about one per cent of its width between seeds."""


def _resampled(cells: np.ndarray, worth: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Means over resampled users. cells: (c,) users a cell; worth: (c, m); returns (resamples, m)."""
    n = int(cells.sum())
    if n == 0:
        raise ValueError("a bootstrap over no users is not defined; the split has no test case")
    used = cells > 0
    draws = np.random.default_rng(seed).multinomial(n, cells[used] / n, size=resamples)  # (resamples, used cells)
    return draws @ worth[used] / n


def _bounds(means: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval. means: (resamples, m); returns low (m,), high (m,)."""
    if not 0.0 < level < 1.0:
        raise ValueError(f"the level of an interval must lie between 0 and 1, got {level}")
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def bootstrap_intervals(
    ranks: np.ndarray,
    cuts: Sequence[int] = CUTS,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Interval of each metric over users.

    ranks:   (n,) from 1, ``metrics.MISS`` for a miss
    level:   share of resamples inside the interval
    seed:    the same seed gives the same interval
    returns  ``{"recall@5": [low, high], ...}``
    """
    cells = np.bincount(clip_ranks(ranks, cuts), minlength=max(cuts) + 2)
    low, high = _bounds(_resampled(cells, gains(cuts), resamples, seed), level)
    return {name: [float(low[i]), float(high[i])] for i, name in enumerate(metric_names(cuts))}


def paired_bootstrap(
    ranks_a: np.ndarray,
    ranks_b: np.ndarray,
    cuts: Sequence[int] = CUTS,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Difference a - b of each metric on the same users, with its interval.

    ranks_a, ranks_b: (n,) ranks of the same users in the same order
    returns  for each metric ``difference``, ``low``, ``high`` and ``a_better``, the share of resamples in
             which a is strictly better; a difference whose interval leaves out 0 is significant at ``level``.
    """
    if len(ranks_a) != len(ranks_b):
        raise ValueError(
            f"a paired bootstrap compares the same users in the same order; got {len(ranks_a)} and {len(ranks_b)} ranks"
        )
    width = max(cuts) + 2
    pairs = clip_ranks(ranks_a, cuts) * width + clip_ranks(ranks_b, cuts)  # (n,)
    cells = np.bincount(pairs, minlength=width * width)
    worth = gains(cuts)
    difference = (worth[:, None, :] - worth[None, :, :]).reshape(width * width, -1)  # (cells, metrics)
    means = _resampled(cells, difference, resamples, seed)
    low, high = _bounds(means, level)
    observed = cells @ difference / len(ranks_a)
    better = (means > 0).mean(0)
    return {
        name: {
            "difference": float(observed[i]),
            "low": float(low[i]),
            "high": float(high[i]),
            "a_better": float(better[i]),
        }
        for i, name in enumerate(metric_names(cuts))
    }
