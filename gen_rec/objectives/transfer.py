"""The semantic-guided transfer task: what the text stream knows helps to read behaviour codes (EAGER, section 3.4).

A small bidirectional decoder reads [CLS] and an item's behaviour codes while looking at the semantic stream's
summary of the same item. It rebuilds masked codes, and tells intact code sequences from partly replaced ones. It
exists in training only.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from gen_rec.models.attention import Attention
from gen_rec.models.blocks import FeedForward, silent
from gen_rec.models.dropout import Dropout
from gen_rec.models.embeddings import INITIAL_STD
from gen_rec.objectives.config import ObjectiveConfig
from indexing import Trie


def choose_some(n: int, depth: int, rate: float, device: torch.device) -> Tensor:
    """A random mask (n, depth) with about ``rate`` of True, and at least one True a row."""
    mask = torch.rand(n, depth, device=device) < rate
    forced = torch.randint(depth, (n, 1), device=device)
    empty = ~mask.any(1, keepdim=True)
    return mask | (empty & (torch.arange(depth, device=device) == forced))


def replace_nodes(nodes: Tensor, chosen: Tensor, trie: Trie) -> Tensor:
    """Put another node of the same level where ``chosen`` is True (levels of one node keep it).

    nodes: (n, depth) nodes at levels 1..depth; chosen: (n, depth) bool; returns (n, depth).
    """
    sizes = torch.tensor(trie.n_nodes[1:], device=nodes.device)  # (depth,)
    shift = 1 + (torch.rand(nodes.shape, device=nodes.device) * (sizes - 1)).long()
    other = (nodes + shift.clamp(max=sizes - 1)) % sizes  # a shift in 1..size-1 never lands on itself
    return torch.where(chosen, other, nodes)


def codes_of(nodes: Tensor, vectors: list[Tensor]) -> Tensor:
    """nodes: (n, depth) at levels 1..depth; vectors: a level, (n_nodes, d); returns (depth, n, d)."""
    return torch.stack([functional.embedding(nodes[:, i], level) for i, level in enumerate(vectors)])


class GuidedLayer(nn.Module):
    """A decoder layer whose tokens see one another and a single state.

    Attention to one state gives it all the weight whatever the query: what is left of it is two projections.
    """

    def __init__(self, hidden_size: int, num_heads: int, inner_size: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = Attention(hidden_size, num_heads, dropout)
        silent(self.self_attention.output)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = silent(nn.Linear(hidden_size, hidden_size))
        self.feed_forward = FeedForward(hidden_size, inner_size, dropout)
        self.self_norm = nn.LayerNorm(hidden_size)
        self.feed_forward_norm = nn.LayerNorm(hidden_size)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """x: (tokens, n, d); state: (n, d), the one that all tokens of a target look at; returns like x."""
        x = self.dropout.add(x, self.self_attention.among(self.self_norm(x), causal=False))
        x = self.dropout.add(x, self.output(self.value(state)).expand_as(x))
        return self.dropout.add(x, self.feed_forward(self.feed_forward_norm(x)))


class SemanticTransfer(nn.Module):
    """The auxiliary decoder and its two losses."""

    def __init__(self, hidden_size: int, num_heads: int, inner_size: int, dropout: float, trie: Trie,
                 config: ObjectiveConfig) -> None:  # fmt: skip
        super().__init__()
        self.trie = trie
        self.config = config
        self.cls = nn.Parameter(torch.randn(hidden_size) * INITIAL_STD)
        self.mask = nn.Parameter(torch.randn(hidden_size) * INITIAL_STD)
        self.kinds = nn.Parameter(torch.randn(trie.depth, hidden_size) * INITIAL_STD)
        self.layers = nn.ModuleList(
            GuidedLayer(hidden_size, num_heads, inner_size, dropout) for _ in range(config.transfer_layers)
        )
        self.norm = nn.LayerNorm(hidden_size)
        self.recognise = nn.Linear(hidden_size, 1)

    def read(self, codes: Tensor, summary: Tensor) -> Tensor:
        """codes: (depth, n, d) vectors; summary: (n, d); returns states (1 + depth, n, d), [CLS] first."""
        tokens = torch.cat([self.cls.expand(1, *summary.shape), codes + self.kinds[:, None]])
        for layer in self.layers:
            tokens = layer(tokens, summary)
        return self.norm(tokens)  # type: ignore[no-any-return]

    def reconstruction(self, nodes: Tensor, summary: Tensor, vectors: list[Tensor]) -> Tensor:
        """Contrast each masked code's state with the true node among the batch's nodes of that level; (n,)."""
        n, depth = nodes.shape
        masked = choose_some(n, depth, self.config.mask_rate, nodes.device)
        codes = codes_of(nodes, vectors)  # (depth, n, d)
        states = self.read(torch.where(masked.T[..., None], self.mask, codes), summary)[1:]
        losses = torch.zeros(n, depth, dtype=states.dtype, device=states.device)
        for level in range(depth):
            candidates, place = nodes[:, level].unique(return_inverse=True)
            logits = states[level] @ vectors[level][candidates].T  # (n, candidates)
            losses[:, level] = functional.cross_entropy(logits, place, reduction="none")
        return (losses * masked).sum(1) / masked.sum(1)

    def recognition(self, nodes: Tensor, summary: Tensor, vectors: list[Tensor]) -> Tensor:
        """Binary cross-entropy of "these are the item's own codes" on intact and on partly replaced codes; (n,)."""
        n, depth = nodes.shape
        chosen = choose_some(n, depth, self.config.replace_rate, nodes.device)
        wrong = replace_nodes(nodes, chosen, self.trie)
        both = torch.cat([nodes, wrong])  # (2 n, depth)
        logits = self.recognise(self.read(codes_of(both, vectors), summary.repeat(2, 1))[0])[:, 0]  # (2 n,)
        intact = (both == nodes.repeat(2, 1)).all(1).to(logits.dtype)
        losses = functional.binary_cross_entropy_with_logits(logits, intact, reduction="none")
        return losses.view(2, n).mean(0)
