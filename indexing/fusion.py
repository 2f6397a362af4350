"""Two ranked lists into one: the two streams of a model each propose items, one list goes out."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from indexing.ranking import Ranked, ranked

FusionMethod = Literal["confidence", "sum", "entropy"]
ItemScorer = Callable[[Tensor], Tensor]


class Fused(NamedTuple):
    """The fused list of each row, best first; equal scores by item id.

    items:    (rows, k) int64, -1 where there are fewer than k
    scores:   (rows, k) the fused score, ``-inf`` where there are fewer
    scores_a: (rows, k) log-probability by the first stream as it gave it, ``-inf`` where unknown
    scores_b: (rows, k) the same by the second stream
    """

    items: Tensor
    scores: Tensor
    scores_a: Tensor
    scores_b: Tensor


@torch.no_grad()
def fuse(
    a: Ranked,
    b: Ranked,
    method: FusionMethod,
    k: int,
    score_a: ItemScorer | None = None,
    score_b: ItemScorer | None = None,
    weights: tuple[float, float] = (1.0, 1.0),
    temperatures: tuple[float, float] = (1.0, 1.0),
) -> Fused:
    """Rank the union of two lists.

    With x_s = log p_s(item) / temperature_s (not normalised again) and w_s the stream's weight, the score is

    - ``confidence``: the larger, among the streams that list the item, of x_s + log w_s. With equal weights
      this is EAGER's rule (arXiv 2406.14017): the 2k results sorted by log-probability, an item in both keeps
      its larger.
    - ``sum``: w_a x_a + w_b x_b, the product of the two distributions; the side that did not list an item is
      asked for it.
    - ``entropy``: the same sum with weights of its own for each row. The softmax of a stream's listed x_s has
      the entropy H_s; c_s = 1 - H_s / log(number listed) is 0 for a flat list and 1 for a certain one. The
      weights are w_s c_s, scaled so that they add up to w_a + w_b. A list of one item has c = 1, an empty one
      0; where both are 0, the weights stay w_a, w_b. Equally peaked streams thus give ``sum``.

    a, b:     lists without repeated items, (rows, k_a) and (rows, k_b)
    k:        length of the result
    score_a:  items (rows, m), -1 for nothing -> (rows, m) log-probabilities by the first stream; called at
              most once, with what only b listed (see ``score_items``). ``sum`` and ``entropy`` need it;
              ``confidence`` does not call it.
    score_b:  the same for the second stream
    returns   lists of k; an item to which the fused score gives ``-inf`` is left out.
    raises    ValueError for an unknown method, a missing ``score_a`` or ``score_b``, weights or temperatures
              out of range, lists of different rows, an item twice in one list.
    """
    _check(a, b, method, k, score_a, score_b, weights, temperatures)
    items, raw_a, raw_b = _union(a, b)  # (rows, k_a + k_b) each
    if method == "confidence":
        best_a, best_b = (
            _log(weights[0]) + raw_a / temperatures[0],
            _log(weights[1]) + raw_b / temperatures[1],
        )
        scores = torch.maximum(best_a, best_b)
    else:
        assert score_a is not None
        assert score_b is not None
        raw_a, raw_b = _filled(items, raw_a, score_a), _filled(items, raw_b, score_b)
        weight_a, weight_b = (
            raw_a.new_full((len(raw_a), 1), weights[0]),
            raw_b.new_full((len(raw_b), 1), weights[1]),
        )
        if method == "entropy":
            peak_a = weight_a * peakedness(a.scores / temperatures[0])[:, None]
            peak_b = weight_b * peakedness(b.scores / temperatures[1])[:, None]
            both = peak_a + peak_b
            share = torch.where(both > 0, peak_a / both, weight_a / (weight_a + weight_b))
            weight_a, weight_b = share * sum(weights), (1 - share) * sum(weights)
        scores = _scaled(raw_a / temperatures[0], weight_a) + _scaled(raw_b / temperatures[1], weight_b)
    result = ranked(items, scores, k)
    return Fused(*result, _look_up(result.items, items, raw_a), _look_up(result.items, items, raw_b))


def peakedness(scores: Tensor) -> Tensor:
    """How certain a list is: 1 - normalised entropy of the softmax of its scores.

    scores: (rows, k), ``-inf`` where there is no item
    returns (rows,) in [0, 1]; 1 for a list of one item, 0 for an empty one.
    """
    real = scores > -torch.inf
    n = real.sum(1)
    probabilities = scores.softmax(1).nan_to_num(0.0)  # an empty row is NaN
    entropy = torch.special.entr(probabilities).sum(1)
    peaked = 1 - entropy / n.clamp(min=2).log()
    return torch.where(n == 0, 0.0, peaked.clamp(0.0, 1.0))


def _check(
    a: Ranked,
    b: Ranked,
    method: str,
    k: int,
    score_a: ItemScorer | None,
    score_b: ItemScorer | None,
    weights: tuple[float, float],
    temperatures: tuple[float, float],
) -> None:
    """Refuse what ``fuse`` cannot make sense of."""
    if method not in ("confidence", "sum", "entropy"):
        raise ValueError(f"method must be 'confidence', 'sum' or 'entropy', got {method!r}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if method != "confidence" and (score_a is None or score_b is None):
        missing = " and ".join(n for n, f in (("score_a", score_a), ("score_b", score_b)) if f is None)
        raise ValueError(
            f"method {method!r} needs each stream's log-probability of what only the other listed: {missing} "
            "is missing (pass a function of items, such as one that calls score_items), or use 'confidence'"
        )
    if not all(math.isfinite(w) and w >= 0 for w in weights) or sum(weights) == 0:
        raise ValueError(f"weights must be 0 or more, and one of them above 0, got {weights}")
    if not all(math.isfinite(t) and t > 0 for t in temperatures):
        raise ValueError(f"temperatures must be above 0, got {temperatures}")
    if len(a.items) != len(b.items):
        raise ValueError(f"the lists have {len(a.items)} and {len(b.items)} rows; both must rank the same rows")


def _union(a: Ranked, b: Ranked) -> tuple[Tensor, Tensor, Tensor]:
    """The items of both lists in ascending order, with what each stream said of them.

    returns items (rows, k_a + k_b), -1 for nothing; scores by a and by b of the same shape, ``-inf`` for
            nothing
    raises  ValueError for an item that one list holds twice.
    """
    no_a, no_b = torch.full_like(b.scores, -torch.inf), torch.full_like(a.scores, -torch.inf)
    items = torch.cat([a.items, b.items], 1)
    scores_a, scores_b = torch.cat([a.scores, no_a], 1), torch.cat([no_b, b.scores], 1)
    items, order = items.sort(dim=1, stable=True)  # a before b where both list an item
    from_b = order >= a.items.shape[1]
    scores_a, scores_b = scores_a.gather(1, order), scores_b.gather(1, order)
    again = (items[:, 1:] == items[:, :-1]) & (items[:, 1:] >= 0)
    twice = again & (from_b[:, 1:] == from_b[:, :-1])
    if bool(twice.any()):
        row, column = twice.nonzero()[0].tolist()
        raise ValueError(
            f"row {row}: item {int(items[row, column])} is twice in the {'ab'[int(from_b[row, column])]} list"
        )
    scores_b[:, :-1] = torch.where(again, scores_b[:, 1:], scores_b[:, :-1])
    items[:, 1:] = torch.where(again, -1, items[:, 1:])
    empty = items < 0
    return items, scores_a.masked_fill(empty, -torch.inf), scores_b.masked_fill(empty, -torch.inf)


def _filled(items: Tensor, scores: Tensor, score: ItemScorer) -> Tensor:
    """Ask a stream, once, for the items of the union that it did not list.

    items, scores: (rows, n)
    returns        (rows, n)
    """
    missing = (items >= 0) & (scores == -torch.inf)
    most = int(missing.sum(1).max()) if len(items) else 0
    if most == 0:
        return scores
    columns = missing.to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :most]
    wanted = missing.gather(1, columns)
    answer = score(torch.where(wanted, items.gather(1, columns), -1))  # (rows, most)
    if answer.shape != wanted.shape:
        raise ValueError(f"the stream's scores are {tuple(answer.shape)}, expected {tuple(wanted.shape)}")
    answer = torch.where(wanted, answer.to(scores.dtype), scores.gather(1, columns))
    return scores.scatter(1, columns, answer)


def _scaled(scores: Tensor, weight: Tensor) -> Tensor:
    """weight * scores, where a weight of 0 silences even ``-inf``; (rows, n), (rows, 1)."""
    return torch.where(weight == 0, 0.0, weight * scores)


def _log(weight: float) -> float:
    return math.log(weight) if weight > 0 else -math.inf


def _look_up(wanted: Tensor, items: Tensor, scores: Tensor) -> Tensor:
    """The score of each wanted item; (rows, k), of (rows, n) distinct items; ``-inf`` for -1."""
    items, order = items.sort(dim=1)
    place = torch.searchsorted(items, wanted).clamp(max=items.shape[1] - 1)
    found = scores.gather(1, order.gather(1, place))
    return torch.where(wanted >= 0, found, -torch.inf)
