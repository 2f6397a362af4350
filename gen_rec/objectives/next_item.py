"""The next-item task: the encoder's state before a target must point at the target's own vector among all items'.

The codes teach the encoder which branch of a tree comes next, a coarse and, where the tree is poor, a misleading
signal; this task teaches what id-only models learn by (SASRec with full cross-entropy), through the vectors that items
have on the way in, so that every interaction trains the item's vector from both sides. It exists in training only.
"""

import torch
from torch import Tensor

from gen_rec.models.softmax_share import log_share
from gen_rec.objectives.sampled import sampled_cross_entropy


def next_item_loss(states: Tensor, targets: Tensor, vectors: Tensor, negatives: int) -> Tensor:
    """Cross-entropy of the target by dot product.

    states:    (n, d) of the encoder, at the last item before each target
    targets:   (n,) items
    vectors:   (n_items, d) on the way in
    negatives: items sampled evenly, shared by all rows, that stand for the catalogue (a row's own target is left out of
               it); 0 takes the whole catalogue
    returns    (n,)
    """
    if negatives == 0:
        return -log_share(states, vectors, targets[:, None])
    sampled = torch.randint(len(vectors), (negatives,), device=targets.device)
    positive = (states * vectors[targets]).sum(-1, keepdim=True)  # (n, 1)
    return sampled_cross_entropy(positive, states @ vectors[sampled].T, targets, sampled)
