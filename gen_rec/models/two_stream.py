"""The two-stream generative recommender: a shared encoder and a decoder for each code sequence (EAGER)."""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from gen_rec.models.config import STREAMS, ModelConfig
from gen_rec.models.decoder import StreamDecoder
from gen_rec.models.embeddings import ItemEmbedding
from gen_rec.models.encoder import Encoded, HistoryEncoder
from indexing import Trie


class StreamOutput(NamedTuple):
    """What a stream says of a batch of known targets; n targets are real."""

    code_log_probs: Tensor  # (n, depth): log-probability of each code of the target, given those before it
    summary: Tensor | None  # (n, d): state of the summary token
    nodes: Tensor  # (n, depth): the targets' trie nodes


class TwoStreamModel(nn.Module):
    """EAGER (arXiv 2406.14017): one encoder, a behaviour and a semantic decoder.

    config:  shape and streams
    tries:   stream name -> its trie
    content: (n_items, c) what item and code vectors know of texts (see ``content_features``), or None
    """

    content: Tensor | None

    def __init__(self, config: ModelConfig, tries: dict[str, Trie], content: Tensor | None) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("content", content)
        n_items = next(iter(tries.values())).n_items
        self.items = ItemEmbedding(n_items, config.hidden_size, content if config.item_content else None)
        self.encoder = HistoryEncoder(config)
        names = [name for name in STREAMS if name in config.streams]  # behaviour first, as the fusion expects
        self.decoders = nn.ModuleDict({name: StreamDecoder(config, tries[name], content) for name in names})

    @property
    def streams(self) -> dict[str, StreamDecoder]:
        """Stream name -> its decoder, behaviour first."""
        return cast(dict[str, StreamDecoder], dict(self.decoders.items()))

    def encode(self, history: Tensor, lengths: Tensor, last_only: bool = True) -> Encoded:
        """history: (batch, items) int64, -1 after the end; otherwise as ``HistoryEncoder.forward``."""
        return self.encoder(self.items(history.clamp(min=0)), lengths, last_only)  # type: ignore[no-any-return]

    def forward(self, history: Tensor, lengths: Tensor, targets: Tensor, summary: bool) -> dict[str, StreamOutput]:
        """Score known targets in every stream.

        history: (batch, items) int64, oldest first, left-aligned
        lengths: (batch,) int64
        targets: (batch, items) int64 with the causal encoder, the item that follows each position, or (batch, 1)
                 for the end of each history; -1 where there is none
        summary: also run the summary token
        raises   ValueError for targets of another width, or of every position with the bidirectional encoder, whose
                 states know what follows
        """
        width = targets.shape[1]
        if width != 1 and (self.config.encoder != "causal" or width != history.shape[1]):
            allowed = f"1 or {history.shape[1]}" if self.config.encoder == "causal" else "1"
            raise ValueError(
                f"targets must have {allowed} column(s) with the {self.config.encoder} encoder and histories of "
                f"{history.shape[1]} items, got {width}"
            )
        encoded = self.encode(history, lengths, last_only=width == 1)
        real = targets >= 0  # (batch, targets)
        outputs = {}
        for name, decoder in self.streams.items():
            trie, depth = decoder.trie, decoder.trie.depth
            nodes = trie.item_nodes[targets.clamp(min=0)]  # (batch, targets, depth)
            vectors = decoder.node_vectors(self.items)
            states = decoder.target_states(decoder.context(encoded), nodes, vectors, summary)[real]
            nodes = nodes[real]  # (n, depth)
            code_log_probs = []
            for level in range(depth):
                parents = nodes[:, level - 1] if level else nodes.new_zeros(len(nodes))
                log_probs = decoder.child_log_probs(states[:, level], parents, level, vectors)
                codes = trie.node_codes(level + 1)[nodes[:, level]]  # (n,)
                code_log_probs.append(log_probs.gather(1, codes[:, None])[:, 0])
            outputs[name] = StreamOutput(
                torch.stack(code_log_probs, 1), states[:, depth + 1] if summary else None, nodes
            )
        return outputs
