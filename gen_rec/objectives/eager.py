"""The whole objective around a model: what a training step calls."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gen_rec.models.repeat_bias import RATE as REPEATS_RATE
from gen_rec.models.repeat_bias import RepeatBias
from gen_rec.models.two_stream import StreamOutput, TwoStreamModel
from gen_rec.objectives.config import ObjectiveConfig
from gen_rec.objectives.contrastive import SummaryContrast
from gen_rec.objectives.transfer import SemanticTransfer

BEHAVIOR, SEMANTIC = "behavior", "semantic"


class Batch(NamedTuple):
    """Histories and what follows them."""

    history: Tensor  # (batch, items) int64, oldest first, left-aligned, -1 after the end
    lengths: Tensor  # (batch,) int64
    targets: Tensor  # (batch, items) or (batch, 1) int64, -1 where there is no target

    @property
    def n_targets(self) -> int:
        return int((self.targets >= 0).sum())


class EagerObjective(nn.Module):
    """A model and the losses it learns by; its ``forward`` is one training step's loss.

    model:  what is trained and kept
    tables: stream name -> (n_items, e) frozen embeddings that the stream's codes were cut from
    config: which losses, how much each
    """

    def __init__(self, model: TwoStreamModel, tables: dict[str, Tensor], config: ObjectiveConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config
        streams = list(model.decoders)
        self.use_transfer = config.transfer and len(streams) == 2
        self.summaries = streams if config.contrastive != "off" else [SEMANTIC] if self.use_transfer else []
        hidden = model.config.hidden_size
        self.contrast = nn.ModuleDict()
        if config.contrastive != "off":
            self.contrast.update({name: SummaryContrast(hidden, tables[name], config) for name in streams})
        self.transfer: SemanticTransfer | None = None
        if self.use_transfer:
            trie = model.streams[BEHAVIOR].trie
            shape = model.config
            self.transfer = SemanticTransfer(hidden, shape.num_heads, shape.inner_size, shape.dropout, trie, config)

    def parameter_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """Weights, and the multiple of the rate that they learn at."""
        quick = [
            one for module in self.model.modules() if isinstance(module, RepeatBias) for one in module.parameters()
        ]
        usual = [parameter for parameter in self.parameters() if not any(parameter is one for one in quick)]
        return [(usual, 1.0), (quick, REPEATS_RATE)] if quick else [(usual, 1.0)]

    def forward(self, batch: Batch, n_targets: float | None = None) -> dict[str, Tensor]:
        """Loss terms of a batch, each a sum over targets divided by ``n_targets``.

        n_targets: what the sums are divided by; the batch's own number of targets when None. A trainer that
                   spreads one step over processes or micro-batches gives the number of the whole step, so that the
                   step does not depend on how it was cut.
        returns    scalars: ``loss`` (what to minimise) and its parts, unweighted: ``generation`` and
                   ``generation/<stream>``; ``contrastive``, ``reconstruction``, ``recognition`` when learnt.
        """
        outputs = self.model(batch.history, batch.lengths, batch.targets, self.summaries)
        targets = batch.targets[batch.targets >= 0]  # (n,)
        share = len(targets) / (n_targets or len(targets))  # turns a mean over this batch into the step's part
        terms: dict[str, Tensor] = {}
        reduce = torch.sum if self.config.generation_reduction == "sum" else torch.mean
        for name, output in outputs.items():
            terms[f"generation/{name}"] = -reduce(output.code_log_probs, dim=1).mean() * share
        terms["generation"] = torch.stack([terms[f"generation/{name}"] for name in outputs]).sum()
        loss = terms["generation"]
        if self.contrast:
            parts = [net(outputs[name].summary, targets).mean() for name, net in self.contrast.items()]
            terms["contrastive"] = torch.stack(parts).sum() * share
            loss = loss + self.config.contrastive_weight * terms["contrastive"]
        if self.transfer is not None:
            terms.update({name: term * share for name, term in self._transfer(outputs).items()})
            loss = loss + self.config.reconstruction_weight * terms["reconstruction"]
            loss = loss + self.config.recognition_weight * terms["recognition"]
        return {"loss": loss, **terms}

    def _transfer(self, outputs: dict[str, StreamOutput]) -> dict[str, Tensor]:
        """Means of the transfer losses over (some of) the targets."""
        assert self.transfer is not None
        summary = outputs[SEMANTIC].summary
        assert summary is not None
        nodes = outputs[BEHAVIOR].nodes
        limit = self.config.transfer_targets
        if limit and len(nodes) > limit:
            some = torch.randperm(len(nodes), device=nodes.device)[:limit]
            nodes, summary = nodes[some], summary[some]
        vectors = outputs[BEHAVIOR].vectors
        return {
            "reconstruction": self.transfer.reconstruction(nodes, summary, vectors).mean(),
            "recognition": self.transfer.recognition(nodes, summary, vectors).mean(),
        }
