"""The first code by looking ahead: a branch is as likely as what lies below it.

One vector a branch makes its score linear in the state, so that a branch of a hundred items of which one is just right
looks like one where all are a little so. Id-only models do not have to choose a branch first, and that is what puts
them ahead. Here a branch's score is the log-sum-exp of the scores of its children (the items, in a tree of two levels):
the softmax over all nodes of the second level, summed by branch. It costs what an id-only model's softmax costs, and in
a deeper tree as much as with a catalogue the size of the second level.
"""

import torch
from torch import Tensor

from gen_rec.models.repeat_bias import Seen
from gen_rec.models.softmax_share import log_share
from indexing import Trie


def branch_log_probs(states: Tensor, branches: Tensor, vectors: Tensor, trie: Trie, seen: Seen | None = None) -> Tensor:
    """The log-probability of one branch of the root for each target.

    states:   (n, d)
    branches: (n,) int64 nodes of level 1
    vectors:  (n_nodes[2], d) vectors of the nodes of level 2
    seen:     (n, m) nodes of level 2 and what is added to their scores
    returns   (n,)
    """
    return log_share(states, vectors, trie.children(1, branches), *(seen or ()))


def all_branch_log_probs(states: Tensor, rows: Tensor, absent: Tensor, trie: Trie, seen: Seen | None = None) -> Tensor:
    """The log-probabilities of all branches.

    states: (n, d)
    rows:   (n_nodes[1], widths[1], d) vectors of each branch's children, in the type that products have
    absent: (n_nodes[1], 1, widths[1]) to add to their scores: -inf where there is no child, 0 elsewhere
    seen:   (n, m) nodes of level 2 and what is added to their scores
    returns (n, widths[0]) in code order, -inf where there is no branch
    """
    scores = (states.to(rows.dtype) @ rows.flatten(0, 1).T).to(states.dtype)
    if seen is not None:
        scores.scatter_add_(1, trie.cells[1][seen.items.clamp(min=0)], seen.bias)  # a bias of none is zero
    found = (scores.view(len(states), *rows.shape[:2]) + absent[:, 0]).logsumexp(2).log_softmax(1)  # (n, n_nodes[1])
    codes = trie.node_codes(1)  # (n_nodes[1],)
    return torch.full((len(states), trie.widths[0]), -torch.inf, dtype=states.dtype, device=states.device).index_copy_(
        1, codes.long(), found
    )
