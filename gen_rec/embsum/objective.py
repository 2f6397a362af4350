"""What EmbSum minimises: noise-contrastive choice of the next item, and the teacher's summary."""

import torch
from torch import Tensor, nn

from gen_rec.embsum.batches import EmbSumBatch
from gen_rec.embsum.model import NOTHING, EmbSum


def nce_losses(scores: Tensor, rows: Tensor, positives: Tensor, negative: Tensor) -> Tensor:
    """-log of the positive's share among itself and the row's negatives, for each positive.

    scores:    (rows, c) of every history with every candidate
    rows:      (targets,) int64, the history of each positive
    positives: (targets,) int64, its candidate
    negative:  (rows, c) bool; other positives of a row are neither for nor against it
    returns    (targets,); 0 for a row without negatives.
    """
    lowest = torch.finfo(scores.dtype).min / 2
    against = scores.masked_fill(~negative, lowest).logsumexp(1)  # (rows,)
    chosen = scores[rows, positives]
    return torch.logaddexp(against[rows], chosen) - chosen


class EmbSumObjective(nn.Module):
    """L = NCE + lambda * L_sum: means over the targets, and over those of histories that have a summary.

    The second share is that of a micro-batch; over several of them, or several processes, it is about the mean.
    """

    def __init__(self, model: EmbSum) -> None:
        super().__init__()
        self.model = model

    def parameter_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Weights and the multiple of the learning rate they have."""
        pretrained, fresh = self.model.pretrained()
        return [(pretrained, 1.0), (fresh, self.model.config.head_rate)]

    def forward(self, batch: EmbSumBatch, divisor: float) -> dict[str, Tensor]:
        """Loss terms, each a sum over the targets of this batch divided by ``divisor``."""
        model = self.model
        users = model.encode_users(batch.histories, batch.summaries)
        items = model.encode_items(batch.candidates)
        with torch.autocast(items.device.type, enabled=False):  # small differences of cosines decide
            scores = model.score.all_pairs(users.vectors.float(), items.float())
        nce = nce_losses(scores, batch.rows, batch.positives, batch.negative).sum() / divisor
        terms = {"loss": nce, "nce": nce}
        if users.summary_loss is not None and batch.summaries is not None:
            has = (batch.summaries != NOTHING).any(1)[batch.rows]  # (targets,)
            share = divisor * has.sum().clamp(min=1) / len(has)  # of the divisor: targets whose history has a summary
            terms["summary"] = users.summary_loss[batch.rows].sum() / share
            terms["loss"] = nce + model.config.summary_weight * terms["summary"]
        return terms
