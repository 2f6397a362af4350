"""One stream: a decoder that writes an item's codes, given the encoded history."""

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from gen_rec.models.attention import RecencyBias
from gen_rec.models.blocks import DecoderLayer, Memory
from gen_rec.models.config import ModelConfig
from gen_rec.models.dropout import Dropout
from gen_rec.models.embeddings import INITIAL_STD, ItemEmbedding, LevelCodeEmbedding, PrefixCodeEmbedding
from gen_rec.models.encoder import Encoded
from gen_rec.models.siblings import sibling_logits
from indexing import Trie


class Context(NamedTuple):
    """Everything of a history that a decoder needs, computed once whatever the number of steps and beams."""

    seed: Tensor  # (batch, targets, d), added to every token
    memories: list[Memory]  # a layer
    biases: list[Tensor]  # a layer: (batch, heads, targets, items)


class StreamDecoder(nn.Module):
    """Reads a start token and codes, writes the next code; after the last code, a summary token.

    Tokens of an item with codes c_1..c_L: start, c_1, ..., c_{L-1} and, when a summary is wanted, c_L and the
    summary token. The state at token l scores the children of the node (c_1..c_l).
    """

    def __init__(self, config: ModelConfig, trie: Trie, content: Tensor | None) -> None:
        super().__init__()
        self.trie = trie
        self.tie_leaves = config.tie_leaves and config.code_embedding == "prefix"
        self.seed_start = config.seed_start
        hidden = config.hidden_size
        self.codes: PrefixCodeEmbedding | LevelCodeEmbedding
        if config.code_embedding == "prefix":
            self.codes = PrefixCodeEmbedding(trie, hidden, content if config.code_content else None)
        else:
            self.codes = LevelCodeEmbedding(trie, hidden)
        self.kinds = nn.Parameter(torch.randn(trie.depth + 2, hidden) * INITIAL_STD)  # start, levels, summary
        self.recency = nn.ModuleList(
            RecencyBias(config.num_heads, config.max_history) for _ in range(config.decoder_layers)
        )
        self.layers = nn.ModuleList(
            DecoderLayer(hidden, config.num_heads, config.inner_size, config.dropout)
            for _ in range(config.decoder_layers)
        )
        self.dropout = Dropout(config.embedding_dropout)
        self.output_norm = nn.LayerNorm(hidden)
        self.output_dropout = Dropout(config.dropout)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "StreamDecoder":
        """Whatever moves the module (``to``, ``cuda``) moves the trie, which is no buffer, with it."""
        super()._apply(fn, recurse)
        if self.trie.device != self.kinds.device:
            self.trie = self.trie.to(self.kinds.device)
        return self

    def context(self, encoded: Encoded) -> Context:
        """Keys, values and biases of the history for every layer."""
        biases = [recency(encoded.distance) + encoded.mask for recency in self.recency]
        seed = encoded.last if self.seed_start else torch.zeros_like(encoded.last)
        memories = [cast(DecoderLayer, layer).memory(encoded.states) for layer in self.layers]
        return Context(seed, memories, biases)

    def node_vectors(self, items: ItemEmbedding) -> list[Tensor]:
        """Vectors of the nodes of levels 1..depth, each (n_nodes[level], d)."""
        vectors = [self.codes.vectors(level) for level in range(1, self.trie.depth + 1)]
        if self.tie_leaves:
            vectors[-1] = vectors[-1] + items.vectors()[self.trie.leaf_items]
        return vectors

    def run(self, tokens: Tensor, context: Context, past: list[Memory] | None = None) -> tuple[Tensor, list[Memory]]:
        """tokens: (batch, targets, tokens, d) not seen before; returns normed states like it, and the past."""
        x = self.dropout(tokens) + context.seed[:, :, None]
        now = []
        for i, layer in enumerate(self.layers):
            x, memory = layer(x, context.memories[i], context.biases[i], None if past is None else past[i])
            now.append(memory)
        return self.output_norm(x), now

    def target_states(self, context: Context, nodes: Tensor, vectors: list[Tensor], summary: bool) -> Tensor:
        """States of all tokens of known targets.

        nodes:   (batch, targets, depth) int64, the targets' nodes at levels 1..depth
        returns  (batch, targets, depth or depth + 2, d); the last is the summary token's.
        """
        depth = self.trie.depth
        shape = (*nodes.shape[:2], vectors[0].shape[1])
        tokens = [self.kinds[0].expand(shape)]
        for level in range(1, depth + 1 if summary else depth):
            rows = nn.functional.embedding(nodes[..., level - 1], vectors[level - 1])
            tokens.append(rows + self.kinds[level])
        if summary:
            tokens.append(self.kinds[depth + 1].expand(shape))
        return self.run(torch.stack(tokens, 2), context)[0]

    def child_log_probs(self, states: Tensor, nodes: Tensor, level: int, vectors: list[Tensor]) -> Tensor:
        """states: (n, d) at nodes (n,) of ``level``; returns (n, widths[level]), -inf where no child."""
        logits = sibling_logits(self.output_dropout(states), nodes, level, vectors[level], self.trie)
        return logits.log_softmax(-1)
