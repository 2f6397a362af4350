"""The layers of the encoder and of the decoders: pre-norm, residual, each branch starting silent.

A branch's last matrix starts at zero, so a fresh layer passes its input on unchanged. A decoder then starts
as a softmax over codes read straight off the encoder's state and grows from there, instead of having to
find that state through untrained attention first.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gen_rec.models.attention import Attention
from gen_rec.models.dropout import Dropout


def silent(linear: nn.Linear) -> nn.Linear:
    """Set a projection to zero, so that the branch it ends adds nothing yet."""
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, hidden_size: int, inner_size: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(hidden_size, inner_size)
        self.outer = silent(nn.Linear(inner_size, hidden_size))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """x: (..., d); returns (..., d)."""
        return self.outer(self.dropout(nn.functional.gelu(self.inner(x))))  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward net over the items of a history."""

    def __init__(self, hidden_size: int, num_heads: int, inner_size: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(hidden_size, num_heads, dropout)
        self.feed_forward = FeedForward(hidden_size, inner_size, dropout)
        self.attention_norm = nn.LayerNorm(hidden_size)
        self.feed_forward_norm = nn.LayerNorm(hidden_size)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x: (batch, items, d); bias: broadcasts to (batch, heads, items, items); returns like x."""
        normed = self.attention_norm(x)
        x = x + self.dropout(self.attention(normed, self.attention.keys_values(normed), bias))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))  # type: ignore[no-any-return]


class Memory(NamedTuple):
    """What a decoder layer looks at: a history's keys and values, computed once, shared by all its targets."""

    keys: Tensor  # (batch, heads, items, d / heads)
    values: Tensor  # (batch, heads, items, d / heads)


class DecoderLayer(nn.Module):
    """Self-attention over code tokens (causal unless told), cross-attention to the history, a feed-forward net.

    Every row of the batch holds several targets (positions of a history in training, beams in a search) that
    share the row's memory and do not see one another.
    """

    def __init__(self, hidden_size: int, num_heads: int, inner_size: int, dropout: float, causal: bool = True) -> None:
        super().__init__()
        self.causal = causal
        self.self_attention = Attention(hidden_size, num_heads, dropout)
        self.cross_attention = Attention(hidden_size, num_heads, dropout)
        self.feed_forward = FeedForward(hidden_size, inner_size, dropout)
        silent(self.self_attention.output)
        silent(self.cross_attention.output)
        self.self_norm = nn.LayerNorm(hidden_size)
        self.cross_norm = nn.LayerNorm(hidden_size)
        self.feed_forward_norm = nn.LayerNorm(hidden_size)
        self.dropout = Dropout(dropout)

    def memory(self, states: Tensor) -> Memory:
        """states: (batch, items, d), the encoder's."""
        return Memory(*self.cross_attention.keys_values(states))

    def forward(self, x: Tensor, memory: Memory, bias: Tensor, past: Memory | None = None) -> tuple[Tensor, Memory]:
        """Run new tokens of every target.

        x:      (batch, targets, tokens, d)  tokens not seen before
        memory: of the rows of the batch
        bias:   (batch, heads or 1, targets, items) for cross-attention; -inf where a target must not look
        past:   keys and values (batch * targets, heads, earlier tokens, d / heads) of earlier tokens
        returns states like x, and keys and values of all tokens so far.
        """
        batch, targets, tokens, _ = x.shape
        flat = x.flatten(0, 1)  # (batch * targets, tokens, d)
        normed = self.self_norm(flat)
        keys, values = self.self_attention.keys_values(normed)
        if past is not None:
            keys, values = torch.cat([past.keys, keys], -2), torch.cat([past.values, values], -2)
        order = torch.zeros(tokens, keys.shape[-2], dtype=x.dtype, device=x.device)
        if self.causal:  # token i may look at the past and at tokens <= i
            later = torch.ones_like(order, dtype=torch.bool).triu(keys.shape[-2] - tokens + 1)
            order = order.masked_fill(later, -torch.inf)
        flat = flat + self.dropout(self.self_attention(normed, (keys, values), order))

        x = flat.view(batch, targets * tokens, -1)
        x = x + self.dropout(self.cross_attention(self.cross_norm(x), memory, bias))
        x = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return x.view(batch, targets, tokens, -1), Memory(keys, values)
