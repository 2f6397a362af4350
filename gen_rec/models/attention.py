"""Attention with learnt recency, written for short sequences.

Histories here have tens of items and codes a handful of tokens; there, plain products and a softmax are
faster on a CPU than a fused kernel, forward and backward.
"""

import torch
from torch import Tensor, nn

from gen_rec.models.dropout import Dropout


class RecencyBias(nn.Module):
    """A learnt number for every head and distance, added to attention scores.

    It starts as ``-slope * distance`` with slopes from 1 down to 0 over the heads (ALiBi's shape,
    arXiv 2108.12409), so that before anything is learnt the heads are moving averages of different lengths.
    """

    def __init__(self, num_heads: int, max_distance: int) -> None:
        super().__init__()
        slopes = torch.linspace(1.0, 0.0, num_heads)
        distance = torch.arange(max_distance, dtype=torch.float32)
        self.table = nn.Parameter(-slopes[:, None] * distance[None, :])  # (heads, max_distance)

    def forward(self, distance: Tensor) -> Tensor:
        """distance: (..., queries, keys) int64, how many items back; returns (..., heads, queries, keys).

        Negative distances (keys after the query) count by their size; those past the table share its end.
        """
        bias = self.table[:, distance.abs().clamp(max=self.table.shape[1] - 1)]  # (heads, ..., q, k)
        return bias.movedim(0, -3)


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """(batch, n, d) -> (batch, heads, n, d / heads)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(-3, -2)


def merge_heads(x: Tensor) -> Tensor:
    """(batch, heads, n, d / heads) -> (batch, n, d)."""
    return x.transpose(-3, -2).flatten(-2)


def attend(queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor, dropout: nn.Module) -> Tensor:
    """Scaled dot-product attention.

    queries:       (batch, heads, n, d)
    keys, values:  (batch, heads, m, d)
    bias:          broadcasts to (batch, heads, n / r, m), each row for r queries in a row; -inf where a query must
                   not look, but never everywhere
    returns        (batch, heads, n, d)
    """
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)  # (batch, heads, n, m)
    if bias.shape[-2] != scores.shape[-2]:
        spread = scores.unflatten(-2, (bias.shape[-2], -1)) + bias.unsqueeze(-2)  # (batch, heads, n / r, r, m)
        scores = spread.flatten(-3, -2)
    else:
        scores = scores + bias
    return dropout(scores.softmax(-1)) @ values  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Multi-head attention; queries from one sequence, keys and values from the same or another.

    ``keys_values`` is separate from ``forward`` so that a search can compute it once and use it in every step.
    """

    def __init__(self, hidden_size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)
        self.dropout = Dropout(dropout)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """memory: (batch, m, d); returns keys and values, each (batch, heads, m, d / heads)."""
        keys, values = self.key_value(memory).chunk(2, dim=-1)
        return split_heads(keys, self.num_heads), split_heads(values, self.num_heads)

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        """x: (batch, n, d); bias broadcasts to (batch, heads, n, m); returns (batch, n, d)."""
        queries = split_heads(self.query(x), self.num_heads)
        return self.output(merge_heads(attend(queries, *keys_values, bias, self.dropout)))  # type: ignore[no-any-return]
