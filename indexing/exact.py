"""The exact twin of the beam search: every item of the catalogue is scored, nothing is pruned."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from indexing.ranking import Ranked, checked_exclude, ranked, top_k
from indexing.scorer import Scorer
from indexing.trie import Trie
from indexing.walk import step

CHUNK_CELLS = 1 << 24
"""Without ``node_chunk``, rows x nodes x width of the widest step stays below this (64 MB in float32)."""


@torch.no_grad()
def exact_scores(scorer: Scorer, trie: Trie, node_chunk: int | None = None) -> Tensor:
    """The log-probability of every item for every row.

    node_chunk: nodes of the last inner level scored at once; memory grows with rows x node_chunk x width
    returns     (rows, n_items) float32 (float64 where the scorer's are)
    """
    scores: Tensor | None = None
    for chunk in _chunks(scorer, trie, node_chunk):
        if chunk.leaves == trie.n_items:
            return chunk.totals.index_select(1, trie.item_cells)
        if scores is None:
            scores = chunk.totals.new_empty(scorer.n_rows, trie.n_items)
        items = trie.leaf_items[chunk.start : chunk.start + chunk.leaves]
        scores.scatter_(1, items.expand(scorer.n_rows, -1), chunk.of_leaves())
    assert scores is not None
    return scores


@torch.no_grad()
def exact_search(
    scorer: Scorer, trie: Trie, k: int, exclude: Tensor | None = None, node_chunk: int | None = None
) -> Ranked:
    """The k most probable items of each row, with certainty; memory does not grow with the catalogue.

    exclude:    (rows, m) int64 items never returned, -1 for nothing; removed before the cut
    node_chunk: as in ``exact_scores``; the best k are carried from chunk to chunk
    returns     lists of k, sorted by score, then item id; shorter ones end in -1 and ``-inf``.
    raises      ValueError for k < 1 and a scorer that gives NaN.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    exclude = checked_exclude(exclude, scorer.n_rows, trie.n_items, scorer.device)
    banned: Tensor | None = None  # (rows, m) leaves, -1 for nothing
    if exclude is not None:
        banned = torch.where(exclude >= 0, trie.item_nodes[exclude.clamp(min=0), -1], -1)
    best: Ranked | None = None
    for chunk in _chunks(scorer, trie, node_chunk):
        start, n_leaves, scores = chunk.start, chunk.leaves, chunk.of_leaves()
        if banned is not None:
            inside = (banned >= start) & (banned < start + n_leaves)
            row, column = inside.nonzero(as_tuple=True)
            scores[row, banned[row, column] - start] = -torch.inf
        items = trie.leaf_items[start : start + n_leaves].expand(scorer.n_rows, -1)
        if best is not None:
            items, scores = torch.cat([best.items, items], 1), torch.cat([best.scores, scores], 1)
        values, columns = top_k(scores, k, items.__getitem__)
        if bool(values.isnan().any()):
            raise ValueError("the scorer gave NaN; it must give log-probabilities")
        best = ranked(items.gather(1, columns), values, k)
    assert best is not None
    return best


class _Chunk(NamedTuple):
    """What a run of consecutive leaves has for its scores."""

    start: int  # the first leaf
    leaves: int
    totals: Tensor  # (rows, nodes * width) of every child that the nodes above the leaves could have
    cells: Tensor  # (leaves,) int64: where each leaf is among them

    def of_leaves(self) -> Tensor:
        """(rows, leaves) log-probabilities."""
        return self.totals.index_select(1, self.cells)


def _chunks(scorer: Scorer, trie: Trie, node_chunk: int | None) -> Iterator[_Chunk]:
    """The log-probabilities of all leaves, one run of consecutive leaves after the other.

    A run is the leaves below ``node_chunk`` consecutive nodes of the last inner level. Every run walks from
    the root through its own ancestors (consecutive too, and never more than the run has nodes), which is why
    a scorer must start over at level 0 and need not remember more than one level.
    """
    rows, device = scorer.n_rows, scorer.device
    if node_chunk is None:
        node_chunk = max(1, CHUNK_CELLS // (max(rows, 1) * max(trie.widths)))
    if node_chunk < 1:
        raise ValueError(f"node_chunk must be at least 1, got {node_chunk}")
    last = trie.depth - 1
    for start in range(0, trie.n_nodes[last], node_chunk):
        end = min(start + node_chunk, trie.n_nodes[last])
        runs = [(start, end)]  # levels depth - 1 up to 0
        for level in range(last, 0, -1):
            ends = torch.tensor([runs[-1][0], runs[-1][1] - 1], device=device)
            low, high = trie.parents_at(level, ends).tolist()
            runs.append((low, high + 1))
        runs.reverse()
        runs.append(trie.first_children(last, start, end))  # and the leaves
        total: Tensor | None = None  # (rows, nodes of the level)
        for level in range(trie.depth):
            (first, _), (low, high), width = runs[level], runs[level + 1], trie.widths[level]
            nodes = torch.arange(*runs[level], device=device).expand(rows, -1)
            log_probs = step(scorer, trie, level, nodes)  # (rows, nodes, width)
            totals = (log_probs if total is None else total[..., None] + log_probs).flatten(1)
            cells = trie.cells[level][low:high]  # (next nodes,)
            if first:
                cells = cells - first * width
            if level == last:
                yield _Chunk(low, high - low, totals, cells)
            else:
                total = totals.index_select(1, cells)  # (rows, next nodes)
                scorer.reorder((trie.parents(level + 1)[low:high] - first).expand(rows, -1))
