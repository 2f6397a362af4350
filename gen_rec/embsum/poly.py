"""Poly-embeddings: a set of vectors told by a few, and the score of two such sets."""

import torch
from torch import Tensor, nn


class PolyAttention(nn.Module):
    """Summarises a set of vectors by a few learnt queries (poly-encoder, arXiv 1905.01969; EmbSum's equation for A, B).

    For code c_a:  alpha_a = softmax(c_a tanh(Z W)^T) Z

    The queries start small, so a fresh module returns means of the vectors.
    """

    def __init__(self, hidden_size: int, codes: int, code_size: int) -> None:
        super().__init__()
        self.codes = nn.Parameter(torch.randn(codes, code_size) * 0.05)
        self.project = nn.Parameter(torch.randn(hidden_size, code_size) * hidden_size**-0.5)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Summarise.

        states:  (batch, n, d) what is attended to; anything finite where the mask is False
        mask:    (batch, n) True where a vector is real
        returns  (batch, codes, d); a row with no real vector is zero, never NaN.
        """
        keys = torch.tanh(states @ self.project)  # (batch, n, code_size)
        scores = torch.einsum("mp,bnp->bmn", self.codes, keys)
        lowest = torch.finfo(scores.dtype).min
        weights = scores.masked_fill(~mask[:, None], lowest).softmax(-1)  # (batch, codes, n)
        weights = weights * mask[:, None].to(weights.dtype)  # all zero where nothing is real
        return weights @ states


class PairScore(nn.Module):
    """The score of a user's and a candidate's poly-embeddings (EmbSum).

    K = flatten(A B^T);  W = softmax(flatten(A gelu(B W_s)^T));  s = scale * (W . K)

    ``scale`` is learnt and not the article's: states of different backbones have different lengths. W_s starts at zero,
    so a fresh module scores by the mean of all products.
    """

    def __init__(self, hidden_size: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden_size, hidden_size))
        self.log_scale = nn.Parameter(torch.tensor(scale).log())

    def gates(self, items: Tensor) -> Tensor:
        """gelu(B W_s), which an item has whoever asks. items: (..., n, d); returns like items."""
        return nn.functional.gelu(items @ self.weight)

    def forward(self, users: Tensor, items: Tensor, gates: Tensor | None = None) -> Tensor:
        """Score each user's own candidates.

        users:   (batch, m, d)
        items:   (batch, candidates, n, d)
        gates:   of the items, where they are there already: then an eighth of the time for one user's candidates
        returns  (batch, candidates)
        """
        products = torch.einsum("bmd,bcnd->bcmn", users, items)
        gated = torch.einsum("bmd,bcnd->bcmn", users, self.gates(items) if gates is None else gates)
        return self._weighted(products, gated)

    def all_pairs(self, users: Tensor, items: Tensor) -> Tensor:
        """Score every user with every item. users: (batch, m, d); items: (c, n, d); returns (batch, c)."""
        products = torch.einsum("bmd,cnd->bcmn", users, items)
        return self._weighted(products, torch.einsum("bmd,cnd->bcmn", users, self.gates(items)))

    def _weighted(self, products: Tensor, gates: Tensor) -> Tensor:
        return self.log_scale.exp() * (gates.flatten(-2).softmax(-1) * products.flatten(-2)).sum(-1)
