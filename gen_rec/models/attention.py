"""Attention with learnt recency, written for short sequences.

Histories here have tens of items and codes a handful of tokens. There, on a CPU, plain products and a softmax are
faster than a fused kernel, forward and backward, and for a handful of tokens sums of elementwise products are faster
still.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

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
    """Dot-product attention; queries come scaled.

    The queries lie last in the scores: a softmax over a few keys is many times faster when they are not side by side.

    queries:      (batch, heads, n, d)
    keys, values: (batch, heads, m, d)
    bias:         broadcasts to (batch, heads, n, m), or to (batch, heads, n / t, m) where each t neighbouring queries
                  share it; -inf where a query must not look, but never everywhere
    returns       (batch, heads, n, d)
    """
    scores = keys @ queries.transpose(-1, -2)  # (batch, heads, m, n)
    shared = scores.unflatten(-1, (bias.shape[-2], -1)) + bias.transpose(-1, -2)[..., None]  # (..., m, n / t, t)
    return dropout(shared.flatten(-2).softmax(-2)).transpose(-1, -2) @ values  # type: ignore[no-any-return]


def attend_few(queries: Tensor, keys: Tensor, values: Tensor, causal: bool, dropout: nn.Module) -> Tensor:
    """The same for a handful of tokens, which come first; each may look at all, or at none after it.

    queries:      (tokens, n, heads, d), scaled; with ``causal`` (tokens - 1, ...): the first token sees itself alone
    keys, values: (tokens, n, heads, d)
    returns       like keys.
    """
    mixed = []
    if causal:
        mixed.append(dropout(torch.ones_like(values[0, ..., :1])) * values[0])
    for token, query in enumerate(queries.unbind(0), len(mixed)):
        end = token + 1 if causal else len(keys)
        scores = (query * keys[:end]).sum(-1)  # (keys, n, heads)
        mixed.append((dropout(scores.softmax(0))[..., None] * values[:end]).sum(0))
    return torch.stack(mixed)


class Attention(nn.Module):
    """Multi-head attention; queries from one sequence, keys and values from the same or another.

    ``keys_values`` is separate from ``forward`` so that several readers can share it.
    """

    def __init__(self, hidden_size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)
        self.dropout = Dropout(dropout)

    def queries(self, x: Tensor) -> Tensor:
        """(..., d) -> (..., d), scaled by one over the root of a head's width; the matrix is scaled, not the rows."""
        scale = (x.shape[-1] // self.num_heads) ** -0.5
        return functional.linear(x, self.query.weight * scale, self.query.bias * scale)

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """(..., d) -> keys and values, each (..., d): two products, so that neither is a slice of the other's rows."""
        (key, value), (key_bias, value_bias) = self.key_value.weight.chunk(2), self.key_value.bias.chunk(2)
        return functional.linear(memory, key, key_bias), functional.linear(memory, value, value_bias)

    def forward(self, queries: Tensor, keys_values: tuple[Tensor, Tensor], bias: Tensor) -> Tensor:
        """Attend without the last projection.

        queries:     (batch, n, d) as ``queries`` gives them
        keys_values: (batch, m, d) each
        bias:        as ``attend`` takes it
        returns      (batch, n, d)
        """
        q, k, v = (split_heads(part, self.num_heads) for part in (queries, *keys_values))
        return merge_heads(attend(q, k, v, bias, self.dropout))

    def among(self, x: Tensor, causal: bool) -> Tensor:
        """Self-attention of a handful of tokens. x: (tokens, n, d), tokens first; returns like x."""
        queries = self.queries(x[1:] if causal else x)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)) for part in (queries, *self.keys_values(x)))
        mixed = attend_few(q, k, v, causal, self.dropout).flatten(-2)
        if not len(q):  # a sum of nothing: several processes wait for a gradient of the query's weights too
            mixed = mixed + q.sum()
        return self.output(mixed)  # type: ignore[no-any-return]
