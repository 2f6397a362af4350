"""One stream: a decoder that writes an item's codes, given the encoded history."""

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from gen_rec.models.attention import RecencyBias
from gen_rec.models.blocks import DecoderLayer, Memory, Places
from gen_rec.models.config import ModelConfig
from gen_rec.models.dropout import Dropout
from gen_rec.models.embeddings import INITIAL_STD, LevelCodeEmbedding, PrefixCodeEmbedding, node_means
from gen_rec.models.encoder import Encoded
from gen_rec.models.look_ahead import branch_log_probs
from gen_rec.models.packing import take
from gen_rec.models.repeat_bias import Seen
from gen_rec.models.siblings import sibling_log_probs
from indexing import Trie


class Context(NamedTuple):
    """What a decoder needs of a batch of histories."""

    seed: Tensor  # (batch * targets, d), added to every token of a target
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
        own = config.code_embedding == "prefix"  # each node has vectors of its own
        self.tied = config.tied if own else "none"
        self.look_ahead = config.look_ahead and own and trie.depth > 1
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
        return Context(seed.flatten(0, 1), memories, biases)

    def node_vectors(self, items: Tensor) -> list[Tensor]:
        """Vectors of the nodes of levels 1..depth, each (n_nodes[level], d).

        items: (n_items, d), all items' vectors
        """
        vectors = [self.codes.vectors(level) for level in range(1, self.trie.depth + 1)]
        if self.tied == "none":
            return vectors
        vectors[-1] = vectors[-1] + items[self.trie.leaf_items]
        if self.tied == "nodes":
            means = node_means(items, self.trie, self.trie.depth - 1)
            vectors[:-1] = [own + mean for own, mean in zip(vectors[:-1], means, strict=True)]
        return vectors

    def target_states(
        self, context: Context, nodes: Tensor, places: Places, vectors: list[Tensor], summary: bool
    ) -> Tensor:
        """States of all tokens of known targets.

        nodes:   (n, depth) int64, the targets' nodes at levels 1..depth
        places:  which targets of which histories these n are
        vectors: as ``node_vectors`` gives them
        returns  (depth or depth + 2, n, d), tokens first; the last is the summary token's.
        """
        depth = self.trie.depth
        tokens = [self.kinds[0].expand(len(nodes), -1)]
        tokens += [
            nn.functional.embedding(nodes[:, level - 1], vectors[level - 1]) + self.kinds[level]
            for level in range(1, depth + 1 if summary else depth)
        ]
        if summary:
            tokens.append(self.kinds[depth + 1].expand(len(nodes), -1))
        x = self.dropout(torch.stack(tokens)) + take(context.seed, places.rows)
        for layer, memory, bias in zip(self.layers, context.memories, context.biases, strict=True):
            x = layer(x, memory, bias, places)
        return self.output_norm(x)  # type: ignore[no-any-return]

    def code_log_probs(self, states: Tensor, nodes: Tensor, vectors: list[Tensor], seen: Seen | None) -> Tensor:
        """states: (depth or more, n, d) of the tokens; nodes: (n, depth) of the targets; returns (n, depth).

        seen: the items of each target's history and what is added to their scores, or None
        The log-probability of each code of a target, given those before it.
        """
        states = self.output_dropout(states[: self.trie.depth])
        leaves = None if seen is None else seen.at(self.trie.item_nodes[:, -1])
        last = self.trie.depth - 1
        found = []
        if self.look_ahead:
            found.append(branch_log_probs(states[0], nodes[:, 0], vectors[1], self.trie, leaves if last == 1 else None))
        for level in range(len(found), self.trie.depth):
            parents = nodes[:, level - 1] if level else nodes.new_zeros(len(nodes))
            codes = self.trie.codes_at(level + 1, nodes[:, level])  # (n,)
            known = leaves if level == last else None
            found.append(sibling_log_probs(states[level], parents, codes, level, vectors[level], self.trie, known))
        return torch.stack(found, 1)
