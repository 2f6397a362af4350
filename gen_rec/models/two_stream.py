"""The two-stream generative recommender (EAGER): what reads a history, and a decoder for each code sequence."""

from collections.abc import Collection
from typing import NamedTuple, cast

from torch import Tensor, nn

from gen_rec.models.blocks import Places
from gen_rec.models.config import STREAMS, ModelConfig
from gen_rec.models.decoder import StreamDecoder
from gen_rec.models.encoder import Encoded
from gen_rec.models.reader import HistoryReader
from gen_rec.models.repeat_bias import Seen
from indexing import Trie

SHARED = "shared"


class StreamOutput(NamedTuple):
    """What a stream says of a batch of known targets; n targets are real."""

    code_log_probs: Tensor  # (n, depth): log-probability of each code of the target, given those before it
    summary: Tensor | None  # (n, d): state of the summary token
    nodes: Tensor  # (n, depth): the targets' trie nodes
    vectors: list[Tensor]  # a level from 1 to depth: (n_nodes[level], d) vectors of all nodes


class TwoStreamModel(nn.Module):
    """EAGER (arXiv 2406.14017): a behaviour and a semantic decoder, and the encoder that they share or one for each.

    config:  shape and streams
    tries:   stream name -> its trie
    content: (n_items, c) what item and code vectors know of texts (see ``content_features``), or None
    """

    content: Tensor | None
    kept_for_search: object = None
    """What a search has made of the weights and may use again; see ``gen_rec.models.scoring``."""

    def __init__(self, config: ModelConfig, tries: dict[str, Trie], content: Tensor | None) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("content", content)
        n_items = next(iter(tries.values())).n_items
        names = [name for name in STREAMS if name in config.streams]  # behaviour first, as the fusion expects
        readers = [SHARED] if config.shared_encoder else names
        self.readers = nn.ModuleDict({name: HistoryReader(config, n_items, content) for name in readers})
        self.decoders = nn.ModuleDict({name: StreamDecoder(config, tries[name], content) for name in names})

    def train(self, mode: bool = True) -> "TwoStreamModel":
        """As ever; weights that are about to change make what a search kept of them worthless."""
        if mode:
            self.kept_for_search = None
        return super().train(mode)

    @property
    def streams(self) -> dict[str, StreamDecoder]:
        """Stream name -> its decoder, behaviour first."""
        return cast(dict[str, StreamDecoder], dict(self.decoders.items()))

    def reader_of(self, stream: str) -> str:
        """The name of what reads histories for a stream, among ``readers``."""
        return SHARED if self.config.shared_encoder else stream

    def reader(self, stream: str = SHARED) -> HistoryReader:
        """What reads histories for a stream; without a name, the one that all share. Raises KeyError for none."""
        return cast(HistoryReader, self.readers[self.reader_of(stream)])

    def at_ends(self, history: Tensor, lengths: Tensor) -> dict[str, tuple[Encoded, Seen | None]]:
        """What a search of each stream starts from, as ``HistoryReader.at_ends``; every reader runs once."""
        read = {name: cast(HistoryReader, reader).at_ends(history, lengths) for name, reader in self.readers.items()}
        return {name: read[self.reader_of(name)] for name in self.decoders}

    def forward(
        self, history: Tensor, lengths: Tensor, targets: Tensor, summaries: Collection[str] = ()
    ) -> dict[str, StreamOutput]:
        """Score known targets in every stream.

        history: (batch, items) int64, oldest first, left-aligned
        lengths: (batch,) int64
        targets: (batch, items) int64 with the causal encoder, the item that follows each position, or (batch, 1)
                 for the end of each history; -1 where there is none
        summaries: streams whose summary token is run too
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
        rows = (targets.flatten() >= 0).nonzero()[:, 0]  # (n,) what is real: nothing else is decoded
        places = Places(rows, *targets.shape)
        items = targets.flatten()[rows]  # (n,)
        readings = {name: reader(history, lengths, rows, width) for name, reader in self.readers.items()}
        outputs = {}
        for name, decoder in self.streams.items():
            encoded, known, seen = readings[self.reader_of(name)]
            nodes = decoder.trie.item_nodes[items]  # (n, depth)
            vectors = decoder.node_vectors(known)
            summary = name in summaries
            states = decoder.target_states(decoder.context(encoded), nodes, places, vectors, summary)
            log_probs = decoder.code_log_probs(states, nodes, vectors, seen)
            outputs[name] = StreamOutput(log_probs, states[-1] if summary else None, nodes, vectors)
        return outputs
