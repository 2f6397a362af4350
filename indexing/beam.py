"""Constrained beam search: the most probable items of each row, never a code that no item has."""

import torch
from torch import Tensor

from indexing.ranking import Ranked, checked_exclude, ranked, top_k
from indexing.scorer import Scorer
from indexing.trie import Trie
from indexing.walk import step


@torch.no_grad()
def beam_search(scorer: Scorer, trie: Trie, beams: int, k: int, exclude: Tensor | None = None) -> Ranked:
    """Keep the best ``beams`` nodes of each level, then the best ``k`` items below the last of them.

    Scores are sums of log-probabilities. The held nodes are kept in the order of their ids (not of their
    scores): a tie at the cut of an inner level then goes to the smallest node, a tie at the last cut to the
    smallest item, on every machine. A row with fewer real nodes than beams holds node 0 with score ``-inf``
    in the others, so that a scorer never sees a negative id. The last level is cut to k, not to ``beams``.

    With ``beams`` as many as the widest inner level has nodes, the result is that of ``exact_search``.

    scorer:  the model's state for ``scorer.n_rows`` rows
    beams:   nodes held at inner levels; at most as many as the level has
    k:       length of the lists
    exclude: (rows, m) int64 items never returned, -1 for nothing; removed before the cut
    returns  lists of k, sorted by score, then item id; shorter ones end in -1 and ``-inf``.
    raises   ValueError for beams < 1, k < 1, a scorer that gives NaN or a finite log-probability to a child
             that the trie does not have.
    """
    if beams < 1 or k < 1:
        raise ValueError(f"beams and k must be at least 1, got beams={beams}, k={k}")
    exclude = checked_exclude(exclude, scorer.n_rows, trie.n_items, scorer.device)
    nodes = torch.zeros(scorer.n_rows, 1, dtype=torch.int64, device=scorer.device)
    held = torch.zeros(scorer.n_rows, 1, device=scorer.device)
    for level in range(trie.depth - 1):
        total = (held[..., None] + step(scorer, trie, level, nodes)).flatten(1)  # (rows, beams * width)
        _, winners = top_k(total, min(beams, trie.n_nodes[level + 1]))
        winners = winners.sort(dim=1).values  # ids ascend with (beam, code)
        held = total.gather(1, winners)  # (rows, new beams)
        parent, nodes = _children_of_winners(trie, level, nodes, winners, held)
        nodes = nodes.clamp(min=0)
        scorer.reorder(parent)

    last = trie.depth - 1
    total = (held[..., None] + step(scorer, trie, last, nodes)).flatten(1)
    if exclude is not None:
        _remove(trie, nodes.masked_fill(held == -torch.inf, -1), total, exclude)

    def item_keys(rows: Tensor) -> Tensor:
        leaves = trie.children(last, nodes[rows]).flatten(1)  # (m, beams * width)
        return torch.where(leaves >= 0, trie.leaf_items[leaves.clamp(min=0)], trie.n_items)

    scores, winners = top_k(total, k, item_keys)
    _, leaves = _children_of_winners(trie, last, nodes, winners, scores)
    items = torch.where(leaves >= 0, trie.leaf_items[leaves.clamp(min=0)], -1)
    return ranked(items, scores, k)


def _remove(trie: Trie, nodes: Tensor, total: Tensor, exclude: Tensor) -> None:
    """Give ``-inf``, in place, to the candidates that are in their row's ``exclude``.

    nodes:   (rows, beams) held nodes of the last inner level, -1 where none is held
    total:   (rows, beams * width) scores of their children
    exclude: (rows, m) items, -1 for nothing
    """
    last = trie.depth - 1
    leaves = trie.item_nodes[exclude.clamp(min=0), -1]  # (rows, m)
    parents = trie.parents_at(last + 1, leaves).masked_fill(exclude < 0, -2)
    row, which, beam = (parents[:, :, None] == nodes[:, None, :]).nonzero(as_tuple=True)
    total[row, beam * trie.widths[last] + trie.codes_at(last + 1, leaves[row, which])] = -torch.inf


def _children_of_winners(
    trie: Trie, level: int, nodes: Tensor, winners: Tensor, scores: Tensor
) -> tuple[Tensor, Tensor]:
    """Beam and child node of each winner of the top-k over (beams * width).

    nodes:   (rows, beams); winners, scores: (rows, m)
    returns  (rows, m) the beam it continues, (rows, m) its node at level + 1, -1 where the score is ``-inf``.
    """
    width = trie.widths[level]
    parent = winners.div(width, rounding_mode="floor")
    codes = winners - parent * width
    held = nodes.gather(1, parent)
    children = trie.child(level, held, codes)
    real = scores != -torch.inf
    wrong = scores.isnan() | (real & (children < 0))
    if bool(wrong.any()):
        row, column = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"level {level}, row {row}: the scorer gave {float(scores[row, column])} for code "
            f"{int(codes[row, column])} of node {int(held[row, column])}; it must give a log-probability, "
            "and -inf where the trie has no such child (see Trie.mask)"
        )
    return parent, torch.where(real, children, -1)
