"""EAGER's training step in its published arrangement: a Hugging Face encoder-decoder a stream, one row a target.

The structure is that of the authors' code (github.com/yewzz/EAGER) as ../../docs/architecture.md compares it; the code
is ours. Each stream owns an ``EncoderDecoderModel`` of two BertConfigs, so the history is encoded once a stream. Every
node of the code tree has a vector; the logits of a level are the products of a token's state with the vectors of the
node's children, gathered for every target. The language-model head over the whole vocabulary, which that arrangement
does not use, is taken out, so that the rival does not pay for it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertConfig, EncoderDecoderConfig, EncoderDecoderModel

from gen_rec.models.config import ModelConfig
from indexing import Trie


def bert(shape: ModelConfig, layers: int, vocabulary: int, positions: int) -> BertConfig:
    """A BERT stack of the same width, heads, inner size and dropout as ours."""
    return BertConfig(
        vocab_size=vocabulary, hidden_size=shape.hidden_size, num_hidden_layers=layers,
        num_attention_heads=shape.num_heads, intermediate_size=shape.inner_size, max_position_embeddings=positions,
        hidden_dropout_prob=shape.dropout, attention_probs_dropout_prob=shape.dropout, pad_token_id=0,
    )  # fmt: skip


def encoder_decoder(shape: ModelConfig, n_items: int, nodes: int, depth: int) -> EncoderDecoderModel:
    """The network of one stream; item i is token i + 1 of the encoder, node i is token i + 1 of the decoder."""
    encoder = bert(shape, shape.encoder_layers, n_items + 1, shape.max_history)
    decoder = bert(shape, shape.decoder_layers, nodes + 1, depth + 1)
    config = EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = config.pad_token_id = 0
    return EncoderDecoderModel(config=config)


class PublishedStream(nn.Module):
    """One stream: network, and the vectors of all nodes of its tree."""

    def __init__(self, shape: ModelConfig, trie: Trie) -> None:
        super().__init__()
        self.trie = trie
        inner = trie.n_nodes[1:]
        self.first = [sum(inner[:level]) for level in range(trie.depth)]  # number of the first node of levels 1..depth
        self.network = encoder_decoder(shape, trie.n_items, sum(inner), trie.depth)
        self.network.decoder.cls = nn.Identity()
        self.vectors = nn.Embedding(sum(inner), shape.hidden_size)
        nn.init.normal_(self.vectors.weight, std=0.02)

    def forward(self, history: Tensor, targets: Tensor) -> Tensor:
        """history: (n, items), -1 for nothing; targets: (n,) items; returns the mean loss over levels and targets."""
        trie = self.trie
        nodes = trie.item_nodes[targets]  # (n, depth)
        tokens = [torch.zeros_like(targets)]  # the start
        tokens += [nodes[:, level] + self.first[level] + 1 for level in range(trie.depth - 1)]
        states = self.network(
            input_ids=history + 1, attention_mask=(history >= 0).long(), decoder_input_ids=torch.stack(tokens, 1),
        ).logits  # (n, depth, d): the head is taken out  # fmt: skip
        losses = []
        for level in range(trie.depth):
            parents = nodes[:, level - 1] if level else torch.zeros_like(targets)
            children = trie.children(level, parents)  # (n, K)
            siblings = self.vectors(children.clamp(min=0) + self.first[level])  # (n, K, d)
            logits = (siblings @ states[:, level, :, None])[..., 0]
            logits = logits.masked_fill(children < 0, -torch.inf)
            codes = trie.codes_at(level + 1, nodes[:, level])
            losses.append(functional.cross_entropy(logits, codes))
        return torch.stack(losses).mean()


class PublishedModel(nn.Module):
    """Both streams; its ``forward`` is the step's loss."""

    def __init__(self, shape: ModelConfig, tries: dict[str, Trie]) -> None:
        super().__init__()
        self.streams = nn.ModuleDict({name: PublishedStream(shape, trie) for name, trie in tries.items()})

    def forward(self, history: Tensor, targets: Tensor) -> Tensor:
        """history: (n, items) int64, -1 for nothing; targets: (n,) int64 items."""
        return torch.stack([stream(history, targets) for stream in self.streams.values()]).sum()
