"""The global contrastive task: the summary token must know the whole item (EAGER, section 3.3).

After the last code a summary token looks back over the codes and the history; its state is projected into the
space the codes were cut from and pulled to the target's frozen embedding there.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from gen_rec.objectives.config import ObjectiveConfig


def smooth_l1(predicted: Tensor, target: Tensor) -> Tensor:
    """Huber's loss with a unit knee, averaged over the dimensions: (n, e), (n, e) -> (n,)."""
    return functional.smooth_l1_loss(predicted, target, reduction="none").mean(-1)


def cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """One minus the cosine: (n, e), (n, e) -> (n,)."""
    return 1.0 - functional.cosine_similarity(predicted, target, dim=-1)


def info_nce(predicted: Tensor, targets: Tensor, negatives: Tensor, table: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the target among sampled items, by cosine over temperature.

    predicted: (n, e)
    targets:   (n,) items
    negatives: (m,) items, shared by all rows; one that is a row's own target is left out of that row
    table:     (n_items, e) frozen embeddings
    returns    (n,)
    """
    predicted = functional.normalize(predicted, dim=-1)
    positive = (predicted * functional.normalize(table[targets], dim=-1)).sum(-1, keepdim=True)  # (n, 1)
    others = predicted @ functional.normalize(table[negatives], dim=-1).T  # (n, m)
    others = others.masked_fill(targets[:, None] == negatives, -torch.inf)
    logits = torch.cat([positive, others], 1) / temperature
    return functional.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long), reduction="none")


class SummaryContrast(nn.Module):
    """Project a stream's summary state and compare it with the target's frozen embedding.

    table: (n_items, e) the embeddings the stream's codes were cut from; scaled to unit mean square a dimension, so
           that a Huber loss of one means the same in every space.
    """

    table: Tensor

    def __init__(self, hidden_size: int, table: Tensor, config: ObjectiveConfig) -> None:
        super().__init__()
        scale = table.square().mean().sqrt().clamp(min=1e-12)
        self.register_buffer("table", table / scale, persistent=False)
        self.project = nn.Linear(hidden_size, table.shape[1])
        self.config = config

    def forward(self, summary: Tensor, targets: Tensor) -> Tensor:
        """summary: (n, d); targets: (n,) items; returns the loss of each, (n,)."""
        predicted = self.project(summary)
        if self.config.contrastive == "info_nce":
            sampled = torch.randint(len(self.table), (self.config.negatives,), device=targets.device)
            return info_nce(predicted, targets, sampled, self.table, self.config.temperature)
        if self.config.contrastive == "cosine":
            return cosine(predicted, self.table[targets])
        return smooth_l1(predicted, self.table[targets])
