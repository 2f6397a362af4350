"""SASRec's mixing layer (arXiv 1808.09781, section 3.2): every item looks at those before it."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gen_rec.models.attention import Attention


class Places(NamedTuple):
    """Where histories are real, and who may look at whom.

    real: (rows, n) bool, False where a history is padded, which is always before its first item
    bias: (rows, 1, n, n) float, 0 where a query (third) may look at a key (fourth) and -inf elsewhere
    """

    real: Tensor
    bias: Tensor

    @classmethod
    def of(cls, real: Tensor, dtype: torch.dtype) -> "Places":
        """Each item looks at itself and at the real ones before it; padding looks at itself alone, to be finite."""
        n = real.shape[1]
        before = torch.ones(n, n, dtype=torch.bool, device=real.device).tril()
        itself = torch.eye(n, dtype=torch.bool, device=real.device)
        allowed = before & real[:, None, :] | itself  # (rows, n, n)
        bias = torch.zeros(allowed.shape, dtype=dtype, device=real.device).masked_fill_(~allowed, -torch.inf)
        return cls(real, bias[:, None])


class CausalAttention(nn.Module):
    """Multi-head self-attention with its last projection, without the residual around it."""

    def __init__(self, hidden_size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(hidden_size, num_heads, dropout)

    def forward(self, x: Tensor, places: Places, queries: int) -> Tensor:
        """x: (rows, n, d); queries: of how many of the last places the answer is wanted; returns (rows, queries, d)."""
        attention = self.attention
        asked = attention.queries(x[:, -queries:])
        seen = attention(asked, attention.keys_values(x), places.bias[:, :, -queries:])
        return attention.output(seen)  # type: ignore[no-any-return]
