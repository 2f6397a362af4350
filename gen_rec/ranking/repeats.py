"""Whether people take again what they have: one number, learnt after everything else.

A blend is fitted on what is new to a user. In lists that may hold items of the history these would be scored as if they
were new, near to everything the user likes. How often they are really taken again differs from none (a book) to most (a
loaf), so it is learnt: the number added to their scores with which raw lists are best on validation.
"""

import numpy as np
from numpy.typing import NDArray

from gen_rec.evaluation.metrics import retrieval_metrics
from gen_rec.ranking.features import Bools, Floats

STEPS = 64
"""Quantiles of the differences that are tried, less one."""
CUT = "ndcg@10"
"""What blends are judged by."""


def repeat_weight(scores: Floats, real: Bools, unseen: Bools, target: NDArray[np.int64]) -> float:
    """The addition to the scores of seen items with the best NDCG@10 of raw lists.

    scores: (n, c) as if nothing had been seen
    real:   (n, c) where there is a candidate; unseen: those of them that are not in the history
    target: (n,) column of the item that came next, among the real ones
    returns one of ``STEPS`` + 2 values: below every difference that matters (no seen item passes a target), then their
            quantiles. The smallest of equally good ones; 0.0 where no list holds a seen item.
    """
    seen = real & ~unseen
    if not seen.any():
        return 0.0
    row = np.arange(len(target))
    own = scores[row, target][:, None]  # (n, 1)
    again = seen[row, target]  # (n,) whose target is in the history
    new = ~again
    # a seen item overtakes a new target from an addition of own - score on; a seen target a new item likewise
    overtakes = np.where(seen, own - scores, np.inf)[new]
    overtaken = np.where(unseen, scores - own, -np.inf)[again]
    fixed = np.where(new, ((scores >= own) & unseen).sum(1), ((scores >= own) & seen).sum(1))  # (n,) not moved by it
    gaps = np.concatenate([overtakes[np.isfinite(overtakes)], overtaken[np.isfinite(overtaken)]])
    tried = [float(gaps.min()) - 1.0, *np.quantile(gaps, np.linspace(0, 1, STEPS + 1)).tolist()] if len(gaps) else [0.0]
    best, found = -1.0, 0.0
    for value in tried:
        ranks = fixed.copy()
        ranks[new] += (overtakes <= value).sum(1)
        ranks[again] += (overtaken >= value).sum(1)
        figure = retrieval_metrics(ranks)[CUT]
        if figure > best:
            best, found = figure, value
    return found
