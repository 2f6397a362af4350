"""The layers of the encoder and of the decoders: pre-norm, residual, each branch starting silent.

A branch's last matrix starts at zero, so a fresh layer passes its input on unchanged. A decoder then starts
as a softmax over codes read straight off the encoder's state and grows from there, instead of having to
find that state through untrained attention first.
"""

from typing import NamedTuple

from torch import Tensor, nn

from gen_rec.models.attention import Attention
from gen_rec.models.dropout import Dropout
from gen_rec.models.packing import put, take


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
        return self.outer(self.dropout.gelu(self.inner(x)))  # type: ignore[no-any-return]


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
        attention = self.attention
        seen = attention(attention.queries(normed), attention.keys_values(normed), bias)
        x = self.dropout.add(x, attention.output(seen))
        return self.dropout.add(x, self.feed_forward(self.feed_forward_norm(x)))


class Memory(NamedTuple):
    """What a decoder layer looks at: a history's keys and values, computed once, shared by all its targets."""

    keys: Tensor  # (batch, items, d)
    values: Tensor  # (batch, items, d)


class Places(NamedTuple):
    """Where the targets of a batch, of which only the real ones are computed, belong: row by row of histories."""

    rows: Tensor  # (n,) int64: target i is number rows[i] of all (batch * targets)
    batch: int
    targets: int  # of a row of the batch, real or not


class DecoderLayer(nn.Module):
    """Self-attention over code tokens (causal), cross-attention to the history, a feed-forward net.

    Targets do not see one another; those of the same history share its memory. Tokens come first, so that those of one
    kind lie together.
    """

    def __init__(self, hidden_size: int, num_heads: int, inner_size: int, dropout: float) -> None:
        super().__init__()
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

    def forward(self, x: Tensor, memory: Memory, bias: Tensor, places: Places) -> Tensor:
        """Read all tokens of known targets.

        x:       (tokens, n, d)
        memory:  of the histories
        bias:    (batch, heads or 1, targets, items) for cross-attention; -inf where a target must not look
        places:  which targets of which histories these n are
        returns  like x.
        """
        x = self.dropout.add(x, self.self_attention.among(self.self_norm(x), causal=True))
        x = self.dropout.add(x, self._look(self.cross_norm(x), memory, bias, places))
        return self.dropout.add(x, self.feed_forward(self.feed_forward_norm(x)))

    def _look(self, x: Tensor, memory: Memory, bias: Tensor, places: Places) -> Tensor:
        """Cross-attention of every token to the items that its target may look at; (tokens, n, d)."""
        tokens = len(x)
        shape = (places.batch, places.targets, tokens, -1)
        queries = self.cross_attention.queries(x).transpose(0, 1)  # (n, tokens, d)
        queries = put(queries, places.rows, places.batch * places.targets).view(shape)
        seen = self.cross_attention(queries.flatten(1, 2), memory, bias)  # the tokens of a target share its bias
        mine = take(seen.view(places.batch * places.targets, tokens, -1), places.rows).transpose(0, 1)
        return self.cross_attention.output(mine)  # type: ignore[no-any-return]
