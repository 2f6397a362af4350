"""What the searches share: a checked step of the scorer, and the log-probability of given items."""

import torch
from torch import Tensor

from indexing.scorer import Scorer
from indexing.trie import Trie


def step(scorer: Scorer, trie: Trie, level: int, nodes: Tensor) -> Tensor:
    """One call of ``scorer.score``, its shape checked, in float32 or better.

    nodes:  (rows, beams)
    returns (rows, beams, trie.widths[level])
    raises  ValueError where the scorer answers with another shape.
    """
    scores = scorer.score(level, nodes)
    expected = (*nodes.shape, trie.widths[level])
    if tuple(scores.shape) != expected:
        raise ValueError(
            f"the scorer gave {tuple(scores.shape)} at level {level}, expected (rows, beams, width) = "
            f"{expected}; it may have been made for another trie"
        )
    return scores if scores.dtype == torch.float64 else scores.float()


@torch.no_grad()
def score_items(scorer: Scorer, trie: Trie, items: Tensor) -> Tensor:
    """The log-probability of given items, every level scored once for all of them.

    This is what fusion needs for the items that a stream did not list itself.

    items:  (rows, m) int64, -1 for nothing
    returns (rows, m) log-probabilities, ``-inf`` where the item is -1.
    raises  ValueError for an item that the trie does not have.
    """
    if items.ndim != 2 or items.shape[0] != scorer.n_rows:
        raise ValueError(f"items must be (rows, m) with {scorer.n_rows} rows, got {tuple(items.shape)}")
    if items.numel() and int(items.max()) >= trie.n_items:
        raise ValueError(f"items holds {int(items.max())}, but the trie has the items 0..{trie.n_items - 1}")
    if items.shape[1] == 0:
        return torch.zeros(items.shape, device=scorer.device)
    items = items.to(scorer.device)
    path = trie.item_nodes[items.clamp(min=0)]  # (rows, m, depth)
    nodes = torch.zeros(scorer.n_rows, 1, dtype=torch.int64, device=scorer.device)
    total: Tensor | None = None
    for level in range(trie.depth):
        log_probs = step(scorer, trie, level, nodes)  # (rows, 1 or m, width)
        if level == 0:
            log_probs = log_probs.expand(-1, items.shape[1], -1)
        codes = trie.codes_at(level + 1, path[..., level])  # (rows, m)
        here = log_probs.gather(2, codes[..., None])[..., 0]
        total = here if total is None else total + here
        if level + 1 < trie.depth:
            beams = torch.arange(items.shape[1], device=scorer.device).expand_as(items)
            scorer.reorder(torch.zeros_like(items) if level == 0 else beams)
            nodes = path[..., level]
    assert total is not None
    return total.masked_fill(items < 0, -torch.inf)
