"""The model as the search sees it: log-probabilities of a trie node's children, one level at a time.

The encoder has run once; what the history tells each layer is computed once and shared by all beams of a row. What a
beam's earlier tokens left in the decoder is carried along and reordered, never recomputed.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gen_rec.models.encoder import Encoded
from gen_rec.models.folded import FoldedDecoder, Past, Token, biased_product
from gen_rec.models.look_ahead import all_branch_log_probs
from gen_rec.models.repeat_bias import Seen
from gen_rec.models.siblings import group_by_parent, own_children
from gen_rec.models.two_stream import TwoStreamModel

BLOCK = 32
"""Beams with the same parent that are multiplied with its children in one product, at most."""


class StreamScorer:
    """One stream of a model as ``indexing.Scorer``, for a batch of encoded histories; without dropout."""

    @torch.no_grad()
    def __init__(self, decoder: FoldedDecoder, encoded: Encoded, seen: Seen | None = None) -> None:
        """seen: (rows, m) the items of each history and what is added to their scores."""
        self.decoder = decoder
        self.seen = None if seen is None else seen.at(decoder.trie.item_nodes[:, -1])
        self.history = decoder.history(encoded)
        self.past: Past | None = None
        self._start: tuple[Tensor, Past] | None = None  # what the root's step gave: the same in every walk
        self.n_rows = encoded.states.shape[0]
        self.device = encoded.states.device

    @torch.no_grad()
    def score(self, level: int, nodes: Tensor) -> Tensor:
        """nodes: (rows, beams) int64 of ``level``; returns (rows, beams, widths[level]), -inf for no child."""
        if level == 0 and self._start is not None and nodes.shape[1] == 1:
            scores, self.past = self._start
            return scores
        states, self.past = self.decoder.run(level, nodes, self.history, None if level == 0 else self.past)
        if level == 0 and nodes.shape[1] == 1:
            scores = child_log_probs(self.decoder, 0, nodes.flatten(), states.flatten(0, 1), self._seen(0))[:, None]
            self._start = scores, self.past
            return scores
        if nodes.stride(0) == 0 or len(nodes) == 1:  # all rows ask for the same nodes, as the exact search does
            return child_log_probs_of_all(self.decoder, level, nodes[0], states, self._seen(level))
        found = child_log_probs(self.decoder, level, nodes.flatten(), states.flatten(0, 1), self._seen(level))
        return found.view(*nodes.shape, -1)

    def _seen(self, level: int) -> Seen | None:
        """What matters at a level; None where no leaf is scored."""
        trie, seen = self.decoder.trie, self.seen
        ahead = level == 0 and self.decoder.ahead is not None
        return seen if level + 1 + ahead == trie.depth else None

    def reorder(self, beams: Tensor) -> None:
        """beams: (rows, new_beams) int64, the beam that each new one continues."""
        assert self.past is not None
        if all(token.key.shape[1] == 1 for tokens in self.past for token in tokens):
            return  # there was one beam, which all the new ones continue: what it left is shared
        rows = len(beams)
        offsets = torch.arange(rows, device=beams.device)[:, None]

        def pick(cache: Tensor) -> Tensor:  # (rows, old, d) -> (rows, new, d)
            if cache.shape[1] == 1:
                return cache
            return (
                cache.flatten(0, 1)
                .index_select(0, (offsets * cache.shape[1] + beams).flatten())
                .view(rows, -1, cache.shape[2])
            )

        self.past = [[Token(pick(key), pick(value)) for key, value in tokens] for tokens in self.past]


def child_log_probs(
    decoder: FoldedDecoder, level: int, parents: Tensor, states: Tensor, seen: Seen | None = None
) -> Tensor:
    """states: (n, d) at nodes (n,) of ``level``; returns (n, widths[level]) in code order, -inf where no child.

    seen: (rows, m) leaves and what is added to their scores, where leaves are scored; the n lie row by row

    Beams at the same node are multiplied with its children in one product (see ``sibling_log_probs``).
    """
    n, d = states.shape
    if level == 0 and decoder.ahead is not None:
        return all_branch_log_probs(states, *decoder.ahead, decoder.trie, seen)
    if level == 0:
        rows, absent = decoder.children(0, parents[:1])
        logits = biased_product(absent, states[None], rows.transpose(1, 2))[0]
        return _moved(logits, seen, parents, 0, decoder).log_softmax(-1)
    block = max(1, min(BLOCK, 2 * n // max(1, len(torch.unique(parents)))))
    slots, block_parents = group_by_parent(parents, block)
    blocks = states.new_zeros(len(block_parents) * block, d).index_copy_(0, slots, states)
    rows, absent = decoder.children(level, block_parents)
    logits = biased_product(absent, blocks.view(-1, block, d), rows.transpose(1, 2))  # (n_blocks, block, width)
    return _moved(logits.flatten(0, 1).index_select(0, slots), seen, parents, level, decoder).log_softmax(-1)


def _moved(logits: Tensor, seen: Seen | None, parents: Tensor, level: int, decoder: FoldedDecoder) -> Tensor:
    """Add in place what the seen leaves are worth. logits: (n, width) of the children of parents (n,)."""
    if seen is not None:
        nodes = parents.view(len(seen.items), -1)  # (rows, beams)
        own = own_children(seen, nodes, level, decoder.trie)
        logits[own.row * nodes.shape[1] + own.node, own.code] += own.bias
    return logits


def child_log_probs_of_all(
    decoder: FoldedDecoder, level: int, parents: Tensor, states: Tensor, seen: Seen | None = None
) -> Tensor:
    """The same where all rows have the same nodes. parents: (beams,); states: (rows, beams, d); seen: (rows, m)."""
    if level == 0 and decoder.ahead is not None:
        return child_log_probs(decoder, 0, parents, states.flatten(0, 1), seen).view(*states.shape[:2], -1)
    rows, absent = decoder.children(level, parents)  # (beams, width, d), (beams, 1, width)
    logits = biased_product(absent, states.transpose(0, 1), rows.transpose(1, 2))  # (beams, rows, width)
    if seen is not None:
        own = own_children(seen, parents.expand(len(states), -1), level, decoder.trie)
        logits[own.node, own.row, own.code] += own.bias
    return logits.log_softmax(-1).transpose(0, 1)


class _Kept(NamedTuple):
    """Folded decoders, and the weights that they were folded from, as they were then."""

    parameters: list[nn.Parameter]
    state: list[tuple[int, int]]
    decoders: dict[torch.dtype | None, dict[str, FoldedDecoder]]  # by the type of the products


def folded_decoders(model: TwoStreamModel, dtype: torch.dtype | None = None) -> dict[str, FoldedDecoder]:
    """Every stream's decoder, folded once and kept while the model is not trained and no weight changes.

    Changes are seen by torch's counter of in-place writes and by where the weights lie. What these do not tell (a
    fused optimizer's step, a write through ``parameter.data``, another Parameter in the place of one) belongs to
    training, and ``model.train()`` forgets what was folded.

    dtype: of the products, see ``FoldedDecoder``
    """
    kept = model.kept_for_search
    if not isinstance(kept, _Kept) or kept.state != _state_of(kept.parameters):
        parameters = list(model.parameters())
        kept = model.kept_for_search = _Kept(parameters, _state_of(parameters), {})
    if dtype not in kept.decoders:
        kept.decoders[dtype] = {
            name: FoldedDecoder(decoder, model.reader(name).items, dtype) for name, decoder in model.streams.items()
        }
    return kept.decoders[dtype]


def _state_of(parameters: list[nn.Parameter]) -> list[tuple[int, int]]:
    return [(parameter.data_ptr(), parameter._version) for parameter in parameters]


def stream_scorers(
    model: TwoStreamModel, history: Tensor, lengths: Tensor, dtype: torch.dtype | None = None
) -> dict[str, StreamScorer]:
    """Encode histories once, or once for each stream where they have encoders of their own, and give every scorer.

    history: (rows, items) int64, oldest first, left-aligned, -1 after the end
    lengths: (rows,) int64
    dtype:   of the decoders' products, see ``FoldedDecoder``
    """
    read = model.at_ends(history, lengths)
    return {name: StreamScorer(decoder, *read[name]) for name, decoder in folded_decoders(model, dtype).items()}
