"""The model as the search sees it: log-probabilities of a trie node's children, one level at a time.

The encoder has run once; keys and values of the history are computed once per layer and shared by all beams
of a row. What a beam's earlier tokens left in the decoder is carried along and reordered, never recomputed.
"""

import torch
from torch import Tensor

from gen_rec.models.blocks import Memory
from gen_rec.models.decoder import Context, StreamDecoder
from gen_rec.models.encoder import Encoded
from gen_rec.models.two_stream import TwoStreamModel


class StreamScorer:
    """One stream of a model as ``indexing.Scorer``, for a batch of encoded histories."""

    def __init__(self, decoder: StreamDecoder, encoded: Encoded, vectors: list[Tensor]) -> None:
        self.decoder = decoder
        self.vectors = vectors
        self.context = decoder.context(encoded)
        self.past: list[Memory] | None = None
        self.n_rows = encoded.states.shape[0]
        self.device = encoded.states.device

    def score(self, level: int, nodes: Tensor) -> Tensor:
        """nodes: (rows, beams) int64 of ``level``; returns (rows, beams, widths[level]), -inf for no child."""
        rows, beams = nodes.shape
        tokens = self.decoder.kinds[level].expand(rows, beams, 1, -1)  # (rows, beams, 1, d)
        if level > 0:
            tokens = tokens + self.vectors[level - 1][nodes][:, :, None]
        context = Context(
            self.context.seed.expand(-1, beams, -1),
            self.context.memories,
            [bias.expand(-1, -1, beams, -1) for bias in self.context.biases],
        )
        states, self.past = self.decoder.run(tokens, context, None if level == 0 else self.past)
        log_probs = self.decoder.child_log_probs(states.flatten(0, 2), nodes.flatten(), level, self.vectors)
        return log_probs.view(rows, beams, -1)

    def reorder(self, beams: Tensor) -> None:
        """beams: (rows, new_beams) int64, the beam that each new one continues."""
        assert self.past is not None
        rows = len(beams)
        offsets = torch.arange(rows, device=beams.device)[:, None]

        def pick(cache: Tensor) -> Tensor:  # (rows * old, heads, tokens, d) -> (rows * new, ...)
            old_beams = cache.shape[0] // rows
            return cache[(offsets * old_beams + beams).flatten()]

        self.past = [Memory(pick(keys), pick(values)) for keys, values in self.past]


def stream_scorers(model: TwoStreamModel, history: Tensor, lengths: Tensor) -> dict[str, StreamScorer]:
    """Encode histories once and give every stream's scorer.

    history: (rows, items) int64, oldest first, left-aligned, -1 after the end
    lengths: (rows,) int64
    """
    encoded = model.encode(history, lengths)
    return {
        name: StreamScorer(decoder, encoded, decoder.node_vectors(model.items))
        for name, decoder in model.streams.items()
    }
