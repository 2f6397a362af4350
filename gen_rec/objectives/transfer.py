"""The semantic-guided transfer task: what the text stream knows helps to read behaviour codes (EAGER, section 3.4).

A small bidirectional decoder reads [CLS] and an item's behaviour codes while looking at the semantic stream's
summary of the same item. It rebuilds masked codes, and tells intact code sequences from partly replaced ones. It
exists in training only.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from gen_rec.models.blocks import DecoderLayer
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
        layers = [
            DecoderLayer(hidden_size, num_heads, inner_size, dropout, causal=False)
            for _ in range(config.transfer_layers)
        ]
        for layer in layers:  # one key has all the attention whatever the query: nothing to learn there
            layer.cross_norm.requires_grad_(False)
            layer.cross_attention.query.requires_grad_(False)
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(hidden_size)
        self.recognise = nn.Linear(hidden_size, 1)

    def read(self, codes: Tensor, summary: Tensor) -> Tensor:
        """codes: (n, depth, d) vectors; summary: (n, d); returns states (n, 1 + depth, d), [CLS] first."""
        tokens = torch.cat([self.cls.expand(len(codes), 1, -1), codes + self.kinds], 1)[:, None]
        bias = summary.new_zeros(len(codes), 1, 1, 1)
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            tokens, _ = layer(tokens, layer.memory(summary[:, None]), bias)
        return self.norm(tokens[:, 0])  # type: ignore[no-any-return]

    def reconstruction(self, nodes: Tensor, summary: Tensor, vectors: list[Tensor]) -> Tensor:
        """Contrast each masked code's state with the true node among the batch's nodes of that level; (n,)."""
        n, depth = nodes.shape
        masked = choose_some(n, depth, self.config.mask_rate, nodes.device)
        codes = torch.stack([vectors[level][nodes[:, level]] for level in range(depth)], 1)  # (n, depth, d)
        states = self.read(torch.where(masked[..., None], self.mask, codes), summary)[:, 1:]
        losses = torch.zeros(n, depth, dtype=states.dtype, device=states.device)
        for level in range(depth):
            candidates, place = nodes[:, level].unique(return_inverse=True)
            logits = states[:, level] @ vectors[level][candidates].T  # (n, candidates)
            losses[:, level] = functional.cross_entropy(logits, place, reduction="none")
        return (losses * masked).sum(1) / masked.sum(1)

    def recognition(self, nodes: Tensor, summary: Tensor, vectors: list[Tensor]) -> Tensor:
        """Binary cross-entropy of "these are the item's own codes" on intact and on partly replaced codes; (n,)."""
        n, depth = nodes.shape
        chosen = choose_some(n, depth, self.config.replace_rate, nodes.device)
        wrong = replace_nodes(nodes, chosen, self.trie)
        both = torch.cat([nodes, wrong])  # (2 n, depth)
        codes = torch.stack([vectors[level][both[:, level]] for level in range(depth)], 1)
        logits = self.recognise(self.read(codes, summary.repeat(2, 1))[:, 0])[:, 0]  # (2 n,)
        intact = (both == nodes.repeat(2, 1)).all(1).to(logits.dtype)
        losses = functional.binary_cross_entropy_with_logits(logits, intact, reduction="none")
        return losses.view(2, n).mean(0)
