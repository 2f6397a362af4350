"""What reads a history: the items' vectors, the encoder, and what it means that an item was taken before."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gen_rec.models.config import ModelConfig
from gen_rec.models.embeddings import ItemEmbedding
from gen_rec.models.encoder import Encoded, HistoryEncoder
from gen_rec.models.repeat_bias import RepeatBias, Seen


class Reading(NamedTuple):
    """What a reader makes of a batch of histories and of n targets that follow them."""

    encoded: Encoded
    vectors: Tensor  # (n_items, d) of all items
    seen: Seen | None  # the items of each target's history and what that adds to their scores


class HistoryReader(nn.Module):
    """Item vectors, an encoder over them, and the repeats; the streams have one in common or one each.

    n_items: items of the catalogue
    content: (n_items, c) what item vectors know of texts, or None
    """

    def __init__(self, config: ModelConfig, n_items: int, content: Tensor | None) -> None:
        super().__init__()
        self.items = ItemEmbedding(n_items, config.hidden_size, content if config.item_content else None)
        self.encoder = HistoryEncoder(config)
        self.repeats = RepeatBias(config.max_history) if config.repeat_bias else None

    def encode(self, history: Tensor, lengths: Tensor, last_only: bool = True) -> Encoded:
        """history: (batch, items) int64, -1 after the end; otherwise as ``HistoryEncoder.forward``."""
        return self.encoder(self.items(history.clamp(min=0)), lengths, last_only)  # type: ignore[no-any-return]

    def seen(self, history: Tensor, rows: Tensor, ends: Tensor) -> Seen | None:
        """As ``RepeatBias.forward``; None where repeats have no weight."""
        return None if self.repeats is None else self.repeats(history, rows, ends)

    def at_ends(self, history: Tensor, lengths: Tensor) -> tuple[Encoded, Seen | None]:
        """What a search starts from, of targets that follow each history's end."""
        rows = torch.arange(len(history), device=history.device)
        return self.encode(history, lengths), self.seen(history, rows, lengths - 1)

    def forward(self, history: Tensor, lengths: Tensor, rows: Tensor, width: int) -> Reading:
        """Read for known targets.

        history: (batch, items) int64, oldest first, left-aligned
        lengths: (batch,) int64
        rows:    (n,) int64 places of the targets in a flat (batch * width,)
        width:   1 for targets at the end of each history, ``items`` for targets after every position
        """
        vectors = self.items.vectors()  # once: the text of the whole catalogue is projected here
        entering = nn.functional.embedding(history.clamp(min=0), vectors)
        encoded = self.encoder(entering, lengths, last_only=width == 1)
        ends = rows % width if width > 1 else lengths[rows] - 1
        seen = self.seen(history, torch.div(rows, width, rounding_mode="floor"), ends)
        return Reading(encoded, vectors, seen)
