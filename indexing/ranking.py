"""Ranked lists, and the one top-k of this package: ties have an order that does not depend on the machine."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class Ranked(NamedTuple):
    """The best items of each row, best first; equal scores by item id.

    items:  (rows, k) int64, -1 where there are fewer than k
    scores: (rows, k) float, ``-inf`` where there are fewer than k
    """

    items: Tensor
    scores: Tensor


def top_k(scores: Tensor, k: int, keys: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """The k largest of each row, in no particular order; a tie at the cut goes to the smallest key.

    ``torch.topk`` leaves open which of several equal values it takes. Here one value more is taken, and the
    rows
    where it equals the last are decided again with a stable sort: rare, so the common case costs nothing.

    scores: (rows, n)
    k:      how many; n where it is larger
    keys:   gives the (m, n) tie-break keys of the rows (m,) that it is asked for; the column number if None
    returns (rows, k) values and (rows, k) int64 columns.
    """
    n = scores.shape[1]
    if k >= n:
        return scores, torch.arange(n, device=scores.device).expand_as(scores)
    values, columns = scores.topk(k + 1, dim=1)  # sorted, largest first
    tied = (values[:, k] == values[:, k - 1]) & (values[:, k] > -torch.inf)
    values, columns = values[:, :k], columns[:, :k]
    rows = tied.nonzero()[:, 0]
    if len(rows):
        those = scores[rows]  # (tied rows, n)
        if keys is None:
            columns[rows] = those.argsort(dim=1, descending=True, stable=True)[:, :k]
        else:
            by_key = keys(rows).argsort(dim=1)
            best = those.gather(1, by_key).argsort(dim=1, descending=True, stable=True)[:, :k]
            columns[rows] = by_key.gather(1, best)
        values = scores.gather(1, columns)
    return values, columns


def ranked(items: Tensor, scores: Tensor, k: int) -> Ranked:
    """Sort candidates by score (ties by item id), cut to k, and pad where there are fewer.

    items:  (rows, n) int64 candidates, each at most once a row; negative ones are no candidates
    scores: (rows, n); a candidate with ``-inf`` (or below) is none
    """
    scores = torch.where(items >= 0, scores, -torch.inf)
    by_item = items.argsort(dim=1)
    best = scores.gather(1, by_item).argsort(dim=1, descending=True, stable=True)[:, :k]
    order = by_item.gather(1, best)
    items, scores = items.gather(1, order), scores.gather(1, order)
    items = torch.where(scores > -torch.inf, items, -1)
    if items.shape[1] < k:
        missing = k - items.shape[1]
        items = torch.nn.functional.pad(items, (0, missing), value=-1)
        scores = torch.nn.functional.pad(scores, (0, missing), value=-torch.inf)
    return Ranked(items, scores)


def checked_exclude(exclude: Tensor | None, n_rows: int, n_items: int, device: torch.device) -> Tensor | None:
    """The items to leave out, as (rows, m) int64 on the scorer's device.

    raises ValueError for another number of rows, another rank, or an item that the trie does not have.
    """
    if exclude is None or exclude.numel() == 0:
        return None
    if exclude.ndim != 2 or exclude.shape[0] != n_rows:
        raise ValueError(f"exclude must be (rows, m) with {n_rows} rows, got {tuple(exclude.shape)}")
    largest = int(exclude.max())
    if largest >= n_items:
        raise ValueError(f"exclude holds item {largest}, but the trie has the items 0..{n_items - 1} (pad with -1)")
    return exclude.to(device=device, dtype=torch.int64)
