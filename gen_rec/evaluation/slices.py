"""Metrics of groups of users: by how popular the target was in training, and by how long the history is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from gen_rec.evaluation.metrics import CUTS, clip_ranks, gains, metric_names

POPULARITY_QUANTILES = (0.5, 0.9)
"""Of the items that training saw: the less popular half is the tail, the most popular tenth the head."""

LENGTH_EDGES = (0, 1, 5, 10, 20, 50)
"""Where the groups of history lengths begin."""


@dataclass(frozen=True)
class Slicing:
    """A partition of the users into named groups."""

    by: str
    """What divides them, such as ``"target_popularity"``."""
    names: list[str]
    """(g,) name of each group."""
    bounds: list[tuple[int, int | None]]
    """(g,) smallest and largest value of a group; None for a group without an upper limit."""
    group: np.ndarray
    """(n,) int64 the group of each user."""


def popularity_slicing(
    target: np.ndarray, train_counts: np.ndarray, quantiles: tuple[float, float] = POPULARITY_QUANTILES
) -> Slicing:
    """Groups by how often the target occurs in training: never seen, tail, middle, head.

    target:       (n,) int item of each user
    train_counts: (n_items,) interactions of each item in training
    quantiles:    of the counts of the items that training saw; equal counts always share a group, so where
                  counts are heavily tied the groups of items are larger or smaller than the quantiles say
    """
    seen = train_counts[train_counts > 0]
    low, high = (
        (int(q) for q in np.quantile(seen, quantiles, method="lower")) if len(seen) else (0, 0)
    )  # the largest count of the tail, and of the middle
    edges = np.array([0, low, max(low, high)])
    group = np.searchsorted(edges, train_counts[target], side="left")  # (n,) 0: count 0, 1: <= low, 2: <= high, 3
    bounds: list[tuple[int, int | None]] = [
        (0, 0),
        (1, low),
        (low + 1, int(edges[2])),
        (int(edges[2]) + 1, None),
    ]
    return Slicing("target_popularity", ["never seen", "tail", "middle", "head"], bounds, group)


def length_slicing(lengths: np.ndarray, edges: Sequence[int] = LENGTH_EDGES) -> Slicing:
    """Groups by the length of the history.

    lengths: (n,) items in each history
    edges:   where each group begins, ascending from 0
    """
    if not edges or edges[0] != 0 or any(a >= b for a, b in pairwise(edges)):
        raise ValueError(f"the edges of history lengths must ascend from 0, got {list(edges)}")
    bounds: list[tuple[int, int | None]] = [(a, b - 1) for a, b in pairwise(edges)]
    bounds.append((edges[-1], None))
    names = [f"{a}+" if b is None else str(a) if a == b else f"{a}-{b}" for a, b in bounds]
    return Slicing("history_length", names, bounds, np.searchsorted(np.asarray(edges), lengths, side="right") - 1)


def slice_metrics(
    slicing: Slicing, ranks: Mapping[str, np.ndarray], cuts: Sequence[int] = CUTS
) -> list[dict[str, Any]]:
    """Metrics of every group that has a user.

    ranks:   mode (``"raw"``, ``"filtered"``) -> (n,) ranks from 1
    returns  ``[{"by", "slice", "low", "high", "n", "metrics": {mode: {"recall@5": ...}}}, ...]``
    """
    groups, width = len(slicing.names), max(cuts) + 2
    size = np.bincount(slicing.group, minlength=groups)  # (g,)
    worth, names = gains(cuts), metric_names(cuts)
    means = {}
    for mode, values in ranks.items():
        cells = np.bincount(slicing.group * width + clip_ranks(values, cuts), minlength=groups * width)
        means[mode] = cells.reshape(groups, width) @ worth / np.maximum(size, 1)[:, None]  # (g, metrics)
    return [
        {
            "by": slicing.by,
            "slice": name,
            "low": slicing.bounds[g][0],
            "high": slicing.bounds[g][1],
            "n": int(size[g]),
            "metrics": {mode: dict(zip(names, table[g].tolist(), strict=True)) for mode, table in means.items()},
        }
        for g, name in enumerate(slicing.names)
        if size[g]
    ]
