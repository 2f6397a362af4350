"""k-means++ starts for many problems at once, and plain (unbalanced) Lloyd iterations in chunks."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ENTRIES_AT_ONCE = 1 << 24
"""Entries of a points-by-centres matrix that are held at once."""
SAMPLE_PER_CENTRE = 16
"""k-means++ looks at no more than this many points a centre, unless told otherwise."""


def squared_distances(points: Tensor, centres: Tensor) -> Tensor:
    """Squared Euclidean distance of every point to every centre of its problem, at least zero.

    points: (..., m, d); centres: (..., k, d); returns (..., m, k)
    """
    cross = points @ centres.transpose(-1, -2)
    lengths = points.square().sum(-1)[..., :, None] + centres.square().sum(-1)[..., None, :]
    return torch.add(lengths, cross, alpha=-2).clamp_(min=0)


def row_argmin(values: Tensor) -> Tensor:
    """Column of the least entry of each row, the first of equal ones: (rows, k) -> (rows,) int64.

    On a CPU numpy finds it several times faster than torch does.
    """
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy().argmin(axis=1))
    return values.argmin(dim=1)


def kmeans_plus_plus(
    points: Tensor, k: int, rng: np.random.Generator, sample_per_centre: int = SAMPLE_PER_CENTRE
) -> Tensor:
    """Choose k starting centres among the points of each problem (greedy k-means++).

    Arthur and Vassilvitskii 2007; of 2 + ln k candidates drawn in proportion to the squared distance, the one
    that lowers the total most is taken. Where the points of a problem have fewer than k distinct values, the
    rest of its centres are repeated ones.

    points:            (problems, m, d), m at least k
    sample_per_centre: points a centre that are looked at, at most
    returns (problems, k, d)
    """
    problems, m, _ = points.shape
    device = points.device
    size = min(m, sample_per_centre * k)
    if size < m:
        points = points[:, torch.from_numpy(np.sort(rng.choice(m, size, replace=False))).to(device)]
    row = torch.arange(problems, device=device)
    tries = 2 + int(math.log(k))
    lengths = points.square().sum(-1)  # (problems, size)
    chosen = torch.empty(problems, k, dtype=torch.int64, device=device)
    chosen[:, 0] = torch.from_numpy(rng.integers(size, size=problems)).to(device)
    nearest = squared_distances(points, points[row, chosen[:, 0]][:, None]).squeeze(2)  # (problems, size)
    for step in range(1, k):
        mass = nearest.double().cumsum(dim=1)  # (problems, size)
        draw = torch.from_numpy(rng.random((problems, tries))).to(device) * mass[:, -1:]
        candidates = torch.searchsorted(mass, draw, right=True).clamp_(max=size - 1)  # (problems, tries)
        at = row[:, None], candidates
        distance = lengths[:, :, None] + lengths[at][:, None, :]  # (problems, size, tries)
        distance = distance.add_(points @ points[at].transpose(1, 2), alpha=-2).clamp_(min=0)
        distance = torch.minimum(distance, nearest[:, :, None])
        best = distance.sum(dim=1).argmin(dim=1)
        chosen[:, step] = candidates[row, best]
        nearest = distance[row, :, best]
    return points[row[:, None], chosen]


def nearest_centre(points: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Number of the nearest centre and squared distance to it; ties go to the lower number.

    points: (n, d); centres: (k, d); returns (n,) int64 and (n,)
    """
    labels = torch.empty(len(points), dtype=torch.int64, device=points.device)
    distance = torch.empty(len(points), dtype=points.dtype, device=points.device)
    step = max(1, ENTRIES_AT_ONCE // len(centres))
    for start in range(0, len(points), step):
        part = slice(start, start + step)
        distance[part], labels[part] = squared_distances(points[part], centres).min(dim=1)
    return labels, distance


@dataclass(frozen=True)
class KMeans:
    """A finished k-means: ``centres`` (k, d), ``labels`` (n,), and ``inertia``, the sum of squared
    distances."""

    centres: Tensor
    labels: Tensor
    inertia: float


def kmeans(points: Tensor, k: int, rng: np.random.Generator, max_rounds: int = 20, n_init: int = 1) -> KMeans:
    """Lloyd's k-means without any constraint on sizes; the best of ``n_init`` k-means++ starts.

    A centre that lost all its points moves to the point farthest from its own centre. Where there are fewer
    distinct points than centres, some centres stay without points.

    points: (n, d); k is cut to n
    """
    k = min(k, len(points))
    best: KMeans | None = None
    for _ in range(n_init):
        centres = kmeans_plus_plus(points[None], k, rng)[0]
        labels, distance = nearest_centre(points, centres)
        for _ in range(max_rounds):
            centres = group_means(points, labels, k, fallback=centres)
            empty = (torch.bincount(labels, minlength=k) == 0).nonzero().squeeze(1)
            if len(empty):
                far = distance.argsort(descending=True, stable=True)[: len(empty)]
                centres[empty] = points[far]
            previous = labels
            labels, distance = nearest_centre(points, centres)
            if torch.equal(previous, labels):
                break
        result = KMeans(centres, labels, float(distance.double().sum()))
        if best is None or result.inertia < best.inertia:
            best = result
    assert best is not None
    return best


def group_means(points: Tensor, labels: Tensor, k: int, fallback: Tensor) -> Tensor:
    """Mean of the points of each label; a label without points keeps its row of ``fallback``.

    points: (n, d); labels: (n,) in 0..k-1; fallback: (k, d); returns (k, d)
    """
    counts = torch.bincount(labels, minlength=k)
    means = fallback.clone()
    order = labels.argsort(stable=True)
    ends = counts.cumsum(0).tolist()
    start = 0
    for label, end in enumerate(ends):
        if end > start:
            means[label] = points[order[start:end]].mean(dim=0)
        start = end
    return means
