"""The cross-entropy of a target among sampled items, which the contrastive and the next-item task share."""

import torch
from torch import Tensor
from torch.nn import functional


def sampled_cross_entropy(positive: Tensor, others: Tensor, targets: Tensor, sampled: Tensor) -> Tensor:
    """Each target against the sample, its own copies there left out.

    positive: (n, 1) logits of the targets
    others:   (n, m) logits of the sampled items
    targets:  (n,) items
    sampled:  (m,) items, shared by all rows
    returns   (n,)
    """
    others = others.masked_fill(targets[:, None] == sampled, -torch.inf)
    logits = torch.cat([positive, others], 1)
    return functional.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long), reduction="none")
