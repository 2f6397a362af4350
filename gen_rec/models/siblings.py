"""Log-probabilities of codes among their siblings, many targets at once.

Given a prefix, the next code is one of the children of that trie node, so the softmax runs over the
siblings and the product of all levels is a distribution over items. Targets with the same parent are
multiplied with that parent's children in one batched product, instead of gathering siblings per target.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from gen_rec.models.packing import put, take
from gen_rec.models.repeat_bias import Seen, of_parents
from indexing import Trie

LARGEST_GROUP = 32
"""Targets of one parent that one block holds at most."""

IGNORED = -100
"""Stands where a block has no target."""


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


def sibling_log_probs(
    states: Tensor,
    parents: Tensor,
    codes: Tensor,
    level: int,
    vectors: Tensor,
    trie: Trie,
    seen: Seen | None = None,
) -> Tensor:
    """The log-probability of one child of each target's parent, among all of its children.

    states:  (n, d)
    parents: (n,) int64 nodes of ``level``
    codes:   (n,) int64 the child that is asked for
    vectors: (n_nodes[level + 1], d) vectors of the nodes one level down
    seen:    (n, m) nodes one level down and what is added to their scores
    returns  (n,)
    """
    own = None if seen is None else own_children(seen, parents[:, None], level, trie)
    if level == 0:
        children = trie.children(0, parents.new_zeros(1))[0]  # (K,)
        logits = states @ functional.embedding(children.clamp(min=0), vectors).T + absence(children, states)
        if own is not None:
            logits = logits.index_put((own.row, own.code), own.bias, accumulate=True)
        return -functional.cross_entropy(logits, codes.long(), reduction="none")
    group = max(1, min(LARGEST_GROUP, 2 * len(states) // max(1, len(torch.unique(parents)))))
    slots, block_parents = group_by_parent(parents, group)
    blocks = put(states, slots, len(block_parents) * group).view(-1, group, states.shape[1])
    children = trie.children(level, block_parents)  # (n_blocks, K)
    rows = functional.embedding(children.clamp(min=0), vectors)  # (n_blocks, K, d)
    # targets last: the gradient of rows then lies as embedding's backward wants it, and a softmax over K is faster
    logits = torch.bmm(rows, blocks.transpose(1, 2)) + absence(children, states)[..., None]  # (n_blocks, K, group)
    if own is not None:
        block, place = slots[own.row] // group, slots[own.row] % group
        logits = logits.index_put((block, own.code, place), own.bias, accumulate=True)
    wanted = codes.new_full((len(block_parents) * group,), IGNORED, dtype=torch.long)
    wanted[slots] = codes.long()
    losses = functional.cross_entropy(logits, wanted.view(-1, group), reduction="none", ignore_index=IGNORED)
    return -take(losses.flatten(), slots)


class OwnChildren(NamedTuple):
    """Those of the seen nodes that are children of a node that is looked at; p of them."""

    row: Tensor  # (p,) int64
    node: Tensor  # (p,) int64: which of the row's nodes is the parent
    code: Tensor  # (p,) int64
    bias: Tensor  # (p,)


def own_children(seen: Seen, nodes: Tensor, level: int, trie: Trie) -> OwnChildren:
    """seen: (n, m) nodes of ``level + 1``; nodes: (n, b) of ``level``."""
    safe = seen.items.clamp(min=0)
    row, which, node = of_parents(seen, trie.parents_at(level + 1, safe), nodes)
    return OwnChildren(row, node, trie.codes_at(level + 1, safe[row, which]), seen.bias[row, which])


def absence(children: Tensor, like: Tensor) -> Tensor:
    """What is added to the scores of children: -inf where there is none (-1), 0 elsewhere; the shape of children."""
    zeros = torch.zeros(children.shape, dtype=like.dtype, device=like.device)
    return zeros.masked_fill_(children < 0, -torch.inf)
