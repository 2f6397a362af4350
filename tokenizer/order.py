"""Sibling order with a meaning: children of a node numbered along a short path through their centres."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tokenizer.kmeans import squared_distances

SiblingOrder = Literal["chain", "principal", "random"]
MOST_REVERSALS = 200
"""Reversals that improve a chain, at most; each takes the best one of every node."""
MOST_SWEEPS = 12
"""Sweeps that improve a chain, at most, in the quick way."""
ENTRIES_AT_ONCE = 1 << 23
"""Entries of the sibling-by-sibling distance matrices that are held at once."""


def sibling_ranks(centres: Tensor, order: SiblingOrder, rng: np.random.Generator, quick: bool = False) -> Tensor:
    """Give the children of each node their codes.

    ``chain``: a nearest-neighbour path from one end of the first principal direction, shortened by reversing
    pieces of it (2-opt) while that helps. ``principal``: sorted along the first principal direction.
    ``random``: chance. Ties keep the order of the input.

    centres: (nodes, k, d)
    quick:   shorten chains by sweeps instead of the best reversal of all at a time; as short, for less work
    returns  (nodes, k) int64, each row a permutation of 0..k-1: the code of each child
    """
    nodes, k, _ = centres.shape
    ranks = torch.empty(nodes, k, dtype=torch.int64, device=centres.device)
    step = max(1, ENTRIES_AT_ONCE // (k * k))
    for start in range(0, nodes, step):
        part = slice(start, start + step)
        if order == "random":
            keys = rng.random((len(centres[part]), k))
            path = torch.from_numpy(keys.argsort(axis=1)).to(centres.device)
        else:
            along = principal_coordinate(centres[part])
            path = along.argsort(dim=1, stable=True)
            if order == "chain" and k > 2:
                path = _chain(centres[part], path[:, 0], quick)
        positions = torch.arange(k, device=centres.device).expand(len(path), k)
        ranks[part] = torch.empty_like(path).scatter_(1, path, positions)
    return ranks


def principal_coordinate(centres: Tensor, rounds: int = 8) -> Tensor:
    """Coordinate of each centre along its node's first principal direction (power iteration).

    The sign is fixed by the direction's largest entry being positive, so that equal directions of different
    nodes are read from the same end.

    centres: (nodes, k, d); returns (nodes, k)
    """
    centred = centres - centres.mean(dim=1, keepdim=True)
    far = centred.square().sum(-1).argmax(dim=1)  # start from the most distant centre
    direction = centred[torch.arange(len(centres), device=centres.device), far][:, :, None]  # (nodes, d, 1)
    for _ in range(rounds):
        direction = torch.nn.functional.normalize(direction, dim=1)
        direction = centred.transpose(1, 2) @ (centred @ direction)
    direction = torch.nn.functional.normalize(direction, dim=1)
    largest = direction.abs().argmax(dim=1, keepdim=True)
    direction = direction * direction.gather(1, largest).sign()
    return (centred @ direction).squeeze(2)


def path_length(centres: Tensor, ranks: Tensor) -> Tensor:
    """Mean distance of siblings with neighbouring codes, (nodes,): what ``chain`` makes small.

    centres: (nodes, k, d), k at least 2; ranks: (nodes, k)
    """
    path = ranks.argsort(dim=1)
    walk = centres.gather(1, path[:, :, None].expand_as(centres))
    return (walk[:, 1:] - walk[:, :-1]).norm(dim=2).mean(dim=1)


def _chain(centres: Tensor, start: Tensor, quick: bool) -> Tensor:
    """Paths through all centres of each node, (nodes, k) int64."""
    distance = squared_distances(centres, centres).sqrt()  # (nodes, k, k)
    nodes, k, _ = distance.shape
    row = torch.arange(nodes, device=centres.device)
    path = torch.empty(nodes, k, dtype=torch.int64, device=centres.device)
    path[:, 0] = start
    used = torch.zeros(nodes, k, device=centres.device)
    used[row, start] = torch.inf
    for step in range(1, k):
        path[:, step] = (distance[row, path[:, step - 1]] + used).argmin(dim=1)
        used[row, path[:, step]] = torch.inf
    return _two_opt_sweeps(distance, path) if quick else _two_opt(distance, path)


def _two_opt(distance: Tensor, path: Tensor) -> Tensor:
    """Reverse pieces of open paths while the best reversal of any node shortens it.

    distance: (nodes, k, k); path: (nodes, k); returns (nodes, k)
    """
    k = path.shape[1]
    position = torch.arange(k, device=path.device)
    scale = distance.amax(dim=(1, 2))  # (nodes,)
    active = (scale > 0).nonzero().squeeze(1)
    for _ in range(min(MOST_REVERSALS, 2 * k)):
        if not len(active):
            break
        walk = path[active]  # (a, k)
        n = len(active)
        between = distance[active[:, None, None], walk[:, :, None], walk[:, None, :]]  # (a, k, k)
        edge = torch.diagonal(between, offset=1, dim1=1, dim2=2)  # (a, k - 1), edge i joins places i and i + 1
        zero = edge.new_zeros(n, 1)
        before = torch.cat([zero, edge], dim=1)[:, :, None]  # edge into place i
        after = torch.cat([edge, zero], dim=1)[:, None, :]  # edge out of place j
        # Reversing places i..j replaces (i-1, i) and (j, j+1) by (i-1, j) and (i, j+1); the ends are free.
        new_before = torch.nn.functional.pad(between[:, :-1, :], (0, 0, 1, 0))
        new_after = torch.nn.functional.pad(between[:, :, 1:], (0, 1))
        change = new_before + new_after - before - after
        change.masked_fill_(position[:, None] >= position[None, :], 0.0)
        best, where = change.view(n, k * k).min(dim=1)
        helps = best < -1e-6 * scale[active]
        first, last = (where // k)[:, None], (where % k)[:, None]
        inside = (position >= first) & (position <= last) & helps[:, None]
        path[active] = walk.gather(1, torch.where(inside, first + last - position, position))
        active = active[helps]
    return path


def _two_opt_sweeps(distance: Tensor, path: Tensor) -> Tensor:
    """Reverse pieces of open paths, place by place: the best piece that starts at each, where it helps.

    A sweep over the places costs what one round of ``_two_opt`` does, and makes up to k reversals.

    distance: (nodes, k, k); path: (nodes, k); returns (nodes, k)
    """
    k = path.shape[1]
    position = torch.arange(k, device=path.device)
    scale = distance.amax(dim=(1, 2))  # (nodes,)
    # One more sibling, at distance zero from all, stands before the first place and behind the last one.
    distance = torch.nn.functional.pad(distance, (0, 1, 0, 1))
    walk = torch.nn.functional.pad(path, (1, 1), value=k)  # (nodes, k + 2), place i at column i + 1
    active = (scale > 0).nonzero().squeeze(1)
    for _ in range(MOST_SWEEPS):
        if not len(active):
            break
        here, scales, moved = walk[active], scale[active], torch.zeros_like(active, dtype=torch.bool)
        row = active[:, None]
        after = distance[row, here[:, 1:-1], here[:, 2:]]  # (a, k), edge out of place j
        for first in range(k - 1):
            left, start = here[:, first, None], here[:, first + 1, None]  # places first - 1 and first
            # Reversing first..j replaces (first - 1, first) and (j, j + 1) by (first - 1, j) and (first, j + 1).
            tail = slice(first + 2, k + 1)  # columns of the places j
            change = distance[row, left, here[:, tail]] + distance[row, start, here[:, first + 3 :]]
            change -= after[:, first + 1 :] + distance[row, left, start]
            best, where = change.min(dim=1)
            better = (best < -1e-6 * scales).nonzero().squeeze(1)
            if not len(better):
                continue
            moved[better] = True
            last = (first + 1 + where[better])[:, None]
            inside = (position >= first) & (position <= last)
            turned = torch.where(inside, first + last - position, position)
            here[better, 1:-1] = here[better, 1:-1].gather(1, turned)
            after[better] = distance[active[better][:, None], here[better, 1:-1], here[better, 2:]]
        walk[active] = here
        active = active[moved]
    return walk[:, 1:-1]
