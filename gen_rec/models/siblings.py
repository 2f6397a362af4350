"""Log-probabilities of codes among their siblings, many targets at once.

Given a prefix, the next code is one of the children of that trie node, so the softmax runs over the
siblings and the product of all levels is a distribution over items. Targets with the same parent are
multiplied with that parent's children in one batched product, instead of gathering siblings per target.
"""

import torch
from torch import Tensor

from indexing import Trie


def group_by_parent(parents: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """Lay targets out in blocks of one parent each.

    parents: (n,) int64
    group:   targets a block holds at most
    returns  slots (n,) int64, the place of every target in the flattened blocks, and block_parents
             (n_blocks,) int64; a place that no target takes is padding.
    """
    order = parents.argsort(stable=True)
    unique, counts = torch.unique_consecutive(parents[order], return_counts=True)
    blocks = (counts + group - 1) // group  # blocks of each parent
    first_block = blocks.cumsum(0) - blocks
    first_target = counts.cumsum(0) - counts
    within = torch.arange(len(parents), device=parents.device) - first_target.repeat_interleave(counts)
    slots = torch.empty_like(parents)
    slots[order] = first_block.repeat_interleave(counts) * group + within
    return slots, unique.repeat_interleave(blocks)


def sibling_logits(states: Tensor, parents: Tensor, level: int, vectors: Tensor, trie: Trie) -> Tensor:
    """Scores of all children of each target's parent.

    states:  (n, d)
    parents: (n,) int64 nodes of ``level``
    vectors: (n_nodes[level + 1], d) vectors of the nodes one level down
    returns  (n, widths[level]) in code order, -inf where the parent has no such child.
    """
    if level == 0:
        children = trie.children(0, parents.new_zeros(1))[0]  # (K,)
        logits = states @ vectors[children.clamp(min=0)].T
        return logits.masked_fill(children < 0, -torch.inf)
    n, d = states.shape
    group = max(1, min(32, 2 * n // max(1, len(torch.unique(parents)))))
    slots, block_parents = group_by_parent(parents, group)
    blocks = states.new_zeros(len(block_parents) * group, d).index_copy(0, slots, states)
    children = trie.children(level, block_parents)  # (n_blocks, K)
    absent = children < 0
    rows = torch.nn.functional.embedding(children.masked_fill(absent, 0), vectors)  # (n_blocks, K, d)
    logits = torch.bmm(blocks.view(-1, group, d), rows.transpose(1, 2))  # (n_blocks, group, K)
    logits = logits.masked_fill(absent[:, None], -torch.inf)
    return logits.flatten(0, 1)[slots]
