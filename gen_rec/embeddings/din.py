"""DIN, the deep interest network (arXiv 1706.06978), as a next-item model whose item table is the embedding.

A candidate t is scored against a history h_1 .. h_n like this:

    w_i      = a([h_i, t, h_i ∘ t, h_i − t])        activation unit: one hidden layer, Dice, no softmax
    u(t)     = Σ_i w_i h_i                          the user's interest, as this candidate wakes it
    score(t) = MLP([u(t), t])                       with Dice; score="mlp+dot" adds u(t)·t + b_t

Nothing here looks at an item's place in the history, so w_i depends on the pair (h_i, t) alone. Two savings
come of it. The unit's first layer falls apart into a part of h_i, a part of t and one of their product, so no
(…, 4d) tensor is ever made. And the prefixes of one sequence share their pairs, so a sequence trains all its
prefixes against common negatives in one pass (``DIN.score_sequences``).
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gen_rec.embeddings.dice import Dice


class ActivationUnit(nn.Module):
    """How much a candidate wakes each item of a history: one number a pair, of any sign and size."""

    def __init__(self, dim: int, hidden_size: int) -> None:
        super().__init__()
        self.first = nn.Linear(4 * dim, hidden_size)  # over [h, t, h ∘ t, h − t]
        self.dice = Dice(hidden_size, dim=-2)
        self.last = nn.Linear(hidden_size, 1)
        nn.init.ones_(self.last.bias)  # starts as the plain sum of the history

    def hidden(self, history: Tensor, candidates: Tensor) -> Tensor:
        """The first layer, decomposed.

        history:    (batch, length, d)
        candidates: (n, d), the same for all rows, or (batch, n, d)
        returns     (batch, length, hidden_size, n)
        """
        of_history, of_candidate, of_product, of_difference = self.first.weight.chunk(4, dim=1)  # (hidden, d) each
        left = history @ (of_history + of_difference).T + self.first.bias  # (batch, length, hidden)
        right = candidates @ (of_candidate - of_difference).T  # (…, n, hidden)
        scaled = history[:, :, None, :] * of_product  # (batch, length, hidden, d)
        if candidates.ndim == 2:
            product = scaled @ candidates.T  # (batch, length, hidden, n)
            return product.add_(left[..., None]).add_(right.T)
        batch, length, hidden, d = scaled.shape
        product = scaled.view(batch, length * hidden, d) @ candidates.mT  # (batch, length * hidden, n)
        return product.view(batch, length, hidden, -1).add_(left[..., None]).add_(right.mT[:, None])

    def weights(self, hidden: Tensor, real: Tensor) -> Tensor:
        """From the first layer to the weights.

        hidden:  (batch, length, hidden_size, n)
        real:    (batch, length, n), or (batch, length, 1), True where the pair is real
        returns  (batch, length, n), 0 where the pair is not real
        """
        active = self.dice(hidden, real[:, :, None, :])
        weights = (self.last.weight @ active).squeeze(-2) + self.last.bias
        return weights.masked_fill(~real, 0.0)


class DIN(nn.Module):
    """See the head of this file. A history may hold padding; ``real`` says what is an item."""

    def __init__(
        self,
        n_items: int,
        dim: int,
        activation_size: int = 36,
        mlp_sizes: Sequence[int] = (64, 32),
        score: str = "mlp+dot",
        max_history: int = 20,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.max_history = max_history
        self.table = nn.Embedding(n_items, dim)
        self.dropout = nn.Dropout(dropout)
        self.activation = ActivationUnit(dim, activation_size)
        self.of_interest = nn.Linear(dim, mlp_sizes[0], bias=False)  # the MLP's first layer, in its two parts
        self.of_candidate = nn.Linear(dim, mlp_sizes[0])
        layers: list[nn.Module] = [Dice(mlp_sizes[0])]
        for size_in, size_out in itertools.pairwise(mlp_sizes):
            layers += [nn.Linear(size_in, size_out), Dice(size_out)]
        layers.append(nn.Linear(mlp_sizes[-1], 1, bias=False))  # a constant would cancel in the softmax
        self.mlp = nn.ModuleList(layers)
        self.bias = nn.Embedding(n_items, 1) if score == "mlp+dot" else None
        nn.init.normal_(self.table.weight, std=0.5 * dim**-0.5)
        if self.bias is not None:
            nn.init.zeros_(self.bias.weight)

    def forward(self, history: Tensor, real: Tensor, candidates: Tensor) -> Tensor:
        """Score candidates for histories.

        history:    (batch, length) items; any valid index where not real
        real:       (batch, length) True where there is an item
        candidates: (n,) the same for all rows, or (batch, n)
        returns     (batch, n); a history with no real item is the zero interest.
        """
        items = self.dropout(self.table(history))  # (b, L, d)
        wanted = self.dropout(self.table(candidates))  # (…, n, d)
        hidden = self.activation.hidden(items, wanted)
        n = hidden.shape[-1]
        weights = self.activation.weights(hidden, real[..., None].expand(-1, -1, n))  # (b, L, n)
        interest = weights.mT @ self.of_interest(items)  # (b, n, m)
        scores = self._head(interest + self.of_candidate(wanted))
        if self.bias is not None:
            scores = scores + (weights * (items @ wanted.mT)).sum(1) + self.bias(candidates).squeeze(-1)
        return scores

    def score_sequences(self, items: Tensor, real: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Score, for every prefix of every sequence, the item that follows and the common negatives.

        items:     (batch, L + 1) sequences, real items first; any valid index where not real
        real:      (batch, L + 1)
        negatives: (n,) items
        returns    positive (batch, L), negative (batch, L, n): column p is the history items[:, : p + 1] (its
                   last ``max_history``) and the target items[:, p + 1];
                   (batch, L) True where that target is real. Equal to ``forward`` prefix by prefix in
                   evaluation; in training the batch statistics run over all these pairs at once.
        """
        batch, length, n = items.shape[0], items.shape[1] - 1, len(negatives)
        vectors = self.dropout(self.table(items))  # (b, L + 1, d)
        others = self.dropout(self.table(negatives))  # (n, d)
        history, target = vectors[:, :-1], vectors[:, 1:]  # (b, L, d)
        asked = real[:, 1:]  # (b, L) prefixes with a target
        step = torch.arange(length, device=items.device)
        age = step[:, None] - step  # (prefix, item)
        band = (age >= 0) & (age < self.max_history)  # (L, L)

        own = band.T & asked[:, None, :]  # (b, item, prefix)
        pairs = torch.cat([real[:, :-1, None].expand(-1, -1, n) & asked[..., None], own], -1)  # (b, L, n + L)
        hidden = torch.cat([self.activation.hidden(history, others), self.activation.hidden(history, target)], -1)
        to_others, to_target = self.activation.weights(hidden, pairs).split([n, length], -1)
        to_target = to_target.mT  # (b, prefix, item)

        # every prefix's weights: the target's, then the others'
        woken = torch.cat(
            [to_target[:, :, None], to_others.mT[:, None] * band[:, None].to(vectors.dtype)], dim=2
        )  # (b, prefix, 1 + n, item)
        interest = woken.flatten(1, 2) @ self.of_interest(history)  # (b, L * (1 + n), m)
        candidates = self.of_candidate(torch.cat([target.flatten(0, 1), others]))  # (b * L + n, m)
        first = interest.view(batch, length, 1 + n, -1)
        first[:, :, 0] += candidates[: batch * length].view(batch, length, -1)
        first[:, :, 1:] += candidates[batch * length :]
        scores = self._head(first, asked[:, :, None, None])  # (b, L, 1 + n)
        positive, negative = scores[..., 0], scores[..., 1:]
        if self.bias is not None:
            positive = positive + (to_target * (target @ history.mT)).sum(-1) + self.bias(items[:, 1:]).squeeze(-1)
            agreed = band.to(vectors.dtype) @ (to_others * (history @ others.T))  # (b, L, n)
            negative = negative + agreed + self.bias(negatives).squeeze(-1)
        return positive, negative, asked

    def _head(self, first: Tensor, real: Tensor | None = None) -> Tensor:
        """The MLP after its first layer: (…, m) -> (…)."""
        for layer in self.mlp:
            first = layer(first, real) if isinstance(layer, Dice) else layer(first)
        return first.squeeze(-1)
