"""Equal-size k-means: one split of a node into K children whose sizes differ by at most one."""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tokenizer.assignment import balanced_assign, child_sizes
from tokenizer.kmeans import ENTRIES_AT_ONCE, SAMPLE_PER_CENTRE, kmeans_plus_plus

logger = logging.getLogger(__name__)

COARSE, FINE = 0.2, 0.05
"""What a point may lose at an assignment, as a share of the mean squared distance: in early rounds and
later."""
SMALLEST_GAIN = 1e-3
"""A round that lowers no node's inertia by this share is the last one."""
LEAST_ROUNDS, LEAST_ROUNDS_LEARNT = 5, 2
"""Rounds before that may happen: from k-means++ centres, and from centres learnt on a sample."""
QUICK_SAMPLE_PER_CENTRE = 4
"""Points a centre that the quick way chooses starting centres from: the rounds after it make up for a worse start."""
LEARN_PER_CENTRE = 256
"""Points a centre that the quick way learns centres on before it looks at all, where there are twice as many."""


@dataclass(frozen=True)
class Split:
    """Equal-sized clusters of many problems at once.

    labels:  (problems, m) int64
    centres: (problems, k, d) the mean of each cluster
    inertia: (problems,) sum of squared distances to the own mean
    """

    labels: Tensor
    centres: Tensor
    inertia: Tensor


def balanced_kmeans(
    points: Tensor, k: int, rng: np.random.Generator, max_rounds: int = 20, n_init: int = 1, quick: bool = False
) -> Split:
    """Split each problem's points into k clusters of floor(m/k) or ceil(m/k) points at low inertia.

    Alternates the means and the equal-size assignment (``balanced_assign``), the prices of one round being
    the start of the next, and keeps each problem's best round over all starts. Which clusters are the larger
    ones is free.

    points: (problems, m, d) float32, about centred and scaled (see ``prepare.standardize``); m at least k,
            k at least 2
    quick:  cheaper assignments (``balanced_assign``), and first rounds on a sample, for a fit of many points
    """
    best: Split | None = None
    for _ in range(n_init):
        centres = kmeans_plus_plus(points, k, rng, QUICK_SAMPLE_PER_CENTRE if quick else SAMPLE_PER_CENTRE)
        learnt: _Learnt | None = None
        size = LEARN_PER_CENTRE * k
        if quick and points.shape[1] >= 2 * size:
            chosen = torch.from_numpy(np.sort(rng.choice(points.shape[1], size, replace=False))).to(points.device)
            _, learnt = _lloyd(points[:, chosen], centres, max_rounds, quick)
            centres = learnt.centres
        split, _ = _lloyd(points, centres, max_rounds, quick, learnt)
        best = split if best is None else _better(best, split)
    assert best is not None
    return best


@dataclass(frozen=True)
class _Learnt:
    """What rounds on a sample of the points have found out for the rounds on all of them.

    centres: (problems, k, d); prices: (problems, k); scale: (problems,) mean squared distance to the own centre
    """

    centres: Tensor
    prices: Tensor
    scale: Tensor


def _lloyd(
    points: Tensor, centres: Tensor, max_rounds: int, quick: bool, learnt: _Learnt | None = None
) -> tuple[Split, _Learnt]:
    problems, m, _ = points.shape
    k = centres.shape[1]
    total = _sum_of_squares(points)  # (problems,)
    prices = None if learnt is None else learnt.prices
    best: Split | None = None
    cost = torch.empty(problems, m, k, device=points.device)
    scale = total / m if learnt is None else learnt.scale
    least_rounds = LEAST_ROUNDS if learnt is None else LEAST_ROUNDS_LEARNT
    for turn in range(max_rounds):
        _cost(points, centres, out=cost)
        share = COARSE if turn < 2 and learnt is None else FINE
        tolerance = (scale * share).clamp(min=1e-12).float()
        labels, prices = balanced_assign(cost, tolerance, prices, quick=quick)
        centres = cluster_means(points, labels, k)
        sizes = torch.zeros(problems, k, device=points.device)
        sizes.scatter_add_(1, labels, torch.ones_like(labels, dtype=sizes.dtype))
        # Sum of squared distances to the own mean, by the law of total variance.
        inertia = (total - (sizes * centres.square().sum(-1)).double().sum(1)).clamp(min=0)
        split = Split(labels, centres, inertia)
        scale = inertia / m
        if best is None:
            best = split
            continue
        gain = best.inertia - inertia
        done = bool((gain <= SMALLEST_GAIN * best.inertia).all())
        best = _better(best, split)
        if done and turn + 1 >= least_rounds:
            logger.debug("equal-size k-means stopped after %d rounds", turn + 1)
            break
    assert best is not None
    assert prices is not None
    return best, _Learnt(centres, prices, scale)


def _better(a: Split, b: Split) -> Split:
    """The one with the lower inertia, problem by problem."""
    take = b.inertia < a.inertia
    return Split(
        torch.where(take[:, None], b.labels, a.labels),
        torch.where(take[:, None, None], b.centres, a.centres),
        torch.where(take, b.inertia, a.inertia),
    )


def _sum_of_squares(points: Tensor) -> Tensor:
    """(problems, m, d) -> (problems,) float64"""
    return torch.linalg.vector_norm(points, dim=2).double().square().sum(1)


def _cost(points: Tensor, centres: Tensor, out: Tensor) -> None:
    """Squared distance less the point's own squared length, which no choice depends on.

    points: (problems, m, d); centres: (problems, k, d); out: (problems, m, k)
    """
    lengths = centres.square().sum(-1)[:, None, :]  # (problems, 1, k)
    step = max(1, ENTRIES_AT_ONCE // (out.shape[0] * out.shape[2]))
    for start in range(0, points.shape[1], step):
        part = slice(start, start + step)
        out[:, part] = torch.baddbmm(lengths, points[:, part], centres.transpose(1, 2), alpha=-2)


def cluster_means(points: Tensor, labels: Tensor, k: int) -> Tensor:
    """Means of equal-sized clusters.

    points: (problems, m, d); labels: (problems, m) with floor(m/k) or ceil(m/k) points a label
    returns (problems, k, d)
    """
    problems, m, d = points.shape
    small, _ = child_sizes(m, k)
    number = (labels + torch.arange(problems, device=labels.device)[:, None] * k).view(-1)
    order = number.argsort(stable=True)  # points by cluster, numbered over all problems
    sizes = torch.bincount(number, minlength=problems * k)
    first = sizes.cumsum(0) - sizes
    flat = points.reshape(problems * m, d)
    means = torch.empty(problems * k, d, dtype=points.dtype, device=points.device)
    for size in (small, small + 1):
        clusters = (sizes == size).nonzero().squeeze(1)
        if size == 0 or not len(clusters):
            continue
        step = max(1, ENTRIES_AT_ONCE // (size * d))
        for start in range(0, len(clusters), step):
            part = clusters[start : start + step]
            members = order[first[part][:, None] + torch.arange(size, device=order.device)]  # (part, size)
            means[part] = flat[members].mean(dim=1)
    return means.view(problems, k, d)
