"""The encoder: a history of items to one state an item."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gen_rec.models.attention import RecencyBias
from gen_rec.models.blocks import EncoderLayer
from gen_rec.models.config import ModelConfig
from gen_rec.models.dropout import Dropout


class Encoded(NamedTuple):
    """What the decoders know of a batch of histories."""

    states: Tensor  # (batch, items, d)
    mask: Tensor  # (batch, 1, targets, items): 0 where a target may look at a state, -inf where not
    distance: Tensor  # (targets, items) or (batch, targets, items) int64: how many items back
    last: Tensor  # (batch, targets, d): the state of each target's most recent item


class HistoryEncoder(nn.Module):
    """Item vectors, then self-attention with learnt recency.

    Causal: the state of an item depends on it and those before, so every position can have a target (the item
    that follows). Bidirectional: every state sees the whole history, and only its end has a target.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.causal = config.encoder == "causal"
        self.input_norm = nn.LayerNorm(config.hidden_size)
        self.dropout = Dropout(config.embedding_dropout)
        self.recency = nn.ModuleList(
            RecencyBias(config.num_heads, config.max_history) for _ in range(config.encoder_layers)
        )
        self.layers = nn.ModuleList(
            EncoderLayer(config.hidden_size, config.num_heads, config.inner_size, config.dropout)
            for _ in range(config.encoder_layers)
        )
        self.output_norm = nn.LayerNorm(config.hidden_size)

    def forward(self, vectors: Tensor, lengths: Tensor, last_only: bool) -> Encoded:
        """Encode histories.

        vectors:   (batch, items, d) of the items, oldest first, left-aligned; anything finite after the end
        lengths:   (batch,) int64, items that are real
        last_only: targets follow the last item only (always so for the bidirectional encoder); otherwise every
                   position is a target's last item
        An empty history has one state at position 0, that of no item: a zero vector sent through the layers.
        """
        batch, n, _ = vectors.shape
        position = torch.arange(n, device=vectors.device)
        real = position < lengths[:, None]  # (batch, items)
        x = self.dropout(self.input_norm(vectors * real[..., None]))

        distance = position[:, None] - position[None, :]  # (items, items): query minus key
        shown = position < lengths.clamp(min=1)[:, None]  # there is always something to look at
        ends = torch.zeros(batch, 1, 1, n, device=vectors.device).masked_fill(~shown[:, None, None], -torch.inf)
        mask = ends
        if self.causal:
            mask = ends + torch.zeros(n, n, device=vectors.device).masked_fill(distance < 0, -torch.inf)
        for layer, recency in zip(self.layers, self.recency, strict=True):
            x = layer(x, recency(distance) + mask)
        states = self.output_norm(x)  # (batch, items, d)

        if self.causal and not last_only:
            return Encoded(states, mask, distance, states)
        end = (lengths - 1).clamp(min=0)  # (batch,)
        last = states.gather(1, end[:, None, None].expand(-1, 1, states.shape[-1]))
        return Encoded(states, ends, (end[:, None] - position)[:, None, :], last)
