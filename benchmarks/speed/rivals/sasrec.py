"""SASRec (arXiv 1808.09781): causal self-attention over the history, then a product with every item."""

import torch
from torch import Tensor, nn


class SASRec(nn.Module):
    """Two pre-norm layers of the given width; weights are random, which does not change how long anything takes."""

    def __init__(self, n_items: int, width: int, max_history: int, num_heads: int = 2, num_layers: int = 2) -> None:
        super().__init__()
        self.max_history = max_history
        self.items = nn.Embedding(n_items, width)
        self.positions = nn.Embedding(max_history, width)
        layer = nn.TransformerEncoderLayer(
            width, num_heads, width, dropout=0.0, activation="relu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, num_layers, enable_nested_tensor=False)
        self.norm = nn.LayerNorm(width)

    def scores(self, history: Tensor) -> Tensor:
        """history: (rows, items) int64, right-aligned and without gaps; returns (rows, n_items) products."""
        n = history.shape[1]
        x = self.items(history) * self.items.embedding_dim**0.5 + self.positions.weight[-n:]
        causal = nn.Transformer.generate_square_subsequent_mask(n)
        last = self.norm(self.layers(x, mask=causal, is_causal=True)[:, -1])
        return last @ self.items.weight.T

    @torch.no_grad()
    def top(self, history: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The k best items that are not in the history, best first: items and scores, (rows, k) each."""
        scores = self.scores(history).scatter_(1, history, -torch.inf)
        values, items = scores.topk(k, 1)
        return items, values
