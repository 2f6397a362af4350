"""Histories to ranked lists: encode once, search every stream, fuse."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gen_rec.choices import check_choices
from gen_rec.data.interactions import Sequences, offsets_of, ranges
from gen_rec.models.scoring import StreamScorer, stream_scorers
from gen_rec.models.two_stream import TwoStreamModel
from gen_rec.precision import Precision, product_type
from indexing import Fused, Ranked, beam_search, exact_scores, fuse, score_items
from indexing.fusion import ItemScorer
from indexing.ranking import checked_exclude, ranked, top_k

EXACT_NODES = 1.3
"""Nodes of the widest inner level, for each beam, up to which scoring all of them is as fast as choosing (measured,
benchmarks/speed/exact_ranking.py): a beam ranks its candidates and asks each stream for what only the other found."""


@dataclass
class SearchConfig:
    """How codes are searched and the streams' lists joined."""

    method: Literal["auto", "beam", "exact"] = "auto"
    """"beam" prunes; "exact" scores the whole catalogue for each history; "auto" is exact where that takes no longer:
    where no inner level of a trie has more nodes than ``EXACT_NODES`` times the beams."""
    beams: int = 100
    """Prefixes that a beam search keeps at each level."""
    fusion: Literal["confidence", "sum", "entropy"] = "sum"
    """How the streams' lists become one. With w = ``behavior_weight`` an item's score is: for "confidence" the larger
    of log w + log p_b and log (1 - w) + log p_s, among the streams that list it; for "sum" w log p_b + (1 - w) log p_s;
    for "entropy" that sum with w moved, history by history, towards the stream that is more certain."""
    behavior_weight: float = 0.5
    """Weight w of the behaviour stream in the fusion, between 0 and 1; the semantic stream has the rest."""
    batch_size: int = 256
    """Histories searched at once."""
    precision: Precision = "float32"
    """What the decoders' products are computed in. "bfloat16" changes log-probabilities in the second decimal, is
    faster for batches on processors that multiply it, and slower for one history at a time; "auto" is bfloat16 on those
    processors and float32 elsewhere."""

    def __post_init__(self) -> None:
        check_choices(self, "search")
        for name in ("beams", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"search.{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.behavior_weight < 1:
            raise ValueError(
                f"search.behavior_weight must lie strictly between 0 and 1, got {self.behavior_weight}; "
                "to leave a stream out, see model.streams"
            )


class Rankings(NamedTuple):
    """What one search found for a batch of histories."""

    streams: dict[str, Ranked]  # stream -> its own list; none where only the best were asked for
    fused: Fused | None  # of both streams (a is behaviour, b is semantic); None where there is one stream


def is_exact(model: TwoStreamModel, config: SearchConfig) -> bool:
    """Whether a search of this model scores the whole catalogue."""
    if config.method != "auto":
        return config.method == "exact"
    widest = max(n for decoder in model.streams.values() for n in decoder.trie.n_nodes[:-1])
    return widest <= EXACT_NODES * config.beams


def search(
    model: TwoStreamModel,
    history: Tensor,
    lengths: Tensor,
    k: int,
    excludes: Sequence[Tensor | None],
    config: SearchConfig,
    only_best: bool = False,
) -> list[Rankings]:
    """Rank the catalogue for each history, once for each set of excluded items; the encoder runs once.

    history:  (rows, items) int64, oldest first, left-aligned, -1 after the end
    lengths:  (rows,) int64
    k:        length of the lists
    excludes: each None or (rows, m) int64, -1 for nothing: items that may not be returned
    only_best: leave out the streams' own lists where the fused one does not need them
    returns   one result for each of ``excludes``.
    raises    ValueError for k < 1, and for excluded items of other rows or outside the catalogue.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    with evaluating(model), torch.no_grad():
        scorers = stream_scorers(model, history, lengths, product_type(config.precision, history.device))
        if is_exact(model, config):
            return _exact(model, scorers, k, excludes, config, only_best)
        return _beam(model, scorers, k, excludes, config)


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """Without dropout; afterwards the model is in the mode that it was in."""
    was_training = model.training
    if was_training:  # else not touched: going through all modules takes as long as a layer
        model.eval()
    try:
        yield
    finally:
        if was_training:
            model.train()


ENTROPY_LIST = 50
"""Items of each stream's list from which "entropy" takes how certain the stream is, however many are asked for."""


def _list_length(k: int, config: SearchConfig) -> int:
    """How long the lists are that are fused; the result does not depend on k where the method looks at whole lists."""
    return max(k, ENTROPY_LIST) if config.fusion == "entropy" else k


def _weights(config: SearchConfig) -> tuple[float, float]:
    return config.behavior_weight, 1.0 - config.behavior_weight


def _rankings(lists: dict[str, Ranked], score: dict[str, ItemScorer], k: int, config: SearchConfig) -> Rankings:
    """Fuse the streams' lists where there are two; ``score`` gives a stream's log-probability of any items."""
    fused = None
    if len(lists) == 2:
        (a, b), (score_a, score_b) = lists.values(), score.values()
        fused = fuse(a, b, config.fusion, k, score_a, score_b, weights=_weights(config))
    return Rankings({name: Ranked(found.items[:, :k], found.scores[:, :k]) for name, found in lists.items()}, fused)


def _beam(
    model: TwoStreamModel,
    scorers: dict[str, StreamScorer],
    k: int,
    excludes: Sequence[Tensor | None],
    config: SearchConfig,
) -> list[Rankings]:
    tries = {name: decoder.trie for name, decoder in model.streams.items()}
    score: dict[str, ItemScorer] = {name: partial(score_items, scorer, tries[name]) for name, scorer in scorers.items()}
    results = []
    for exclude in excludes:
        lists = {
            name: beam_search(scorer, tries[name], config.beams, _list_length(k, config), exclude)
            for name, scorer in scorers.items()
        }
        results.append(_rankings(lists, score, k, config))
    return results


def _exact(
    model: TwoStreamModel,
    scorers: dict[str, StreamScorer],
    k: int,
    excludes: Sequence[Tensor | None],
    config: SearchConfig,
    only_best: bool,
) -> list[Rankings]:
    whole = {name: exact_scores(scorer, model.streams[name].trie) for name, scorer in scorers.items()}
    results = []
    for exclude in excludes:
        allowed = whole  # stream -> (rows, n_items)
        if exclude is not None:
            allowed = {name: without(scores, exclude) for name, scores in whole.items()}
        summed = len(allowed) == 2 and config.fusion == "sum"
        lists = {}
        if not (summed and only_best):
            lists = {name: _best(scores, _list_length(k, config)) for name, scores in allowed.items()}
        if summed:
            results.append(Rankings(lists, _exact_sum(allowed["behavior"], allowed["semantic"], k, config)))
        else:
            score: dict[str, ItemScorer] = {name: partial(_look_up, scores) for name, scores in allowed.items()}
            results.append(_rankings(lists, score, k, config))
    return results


def _exact_sum(a: Tensor, b: Tensor, k: int, config: SearchConfig) -> Fused:
    """The best sums over the whole catalogue, not only over what two lists name. a, b: (rows, n_items)."""
    weight_a, weight_b = _weights(config)
    items, scores = _best(weight_a * a + weight_b * b, k)
    return Fused(items, scores, _look_up(a, items), _look_up(b, items))


def _best(scores: Tensor, k: int) -> Ranked:
    values, items = top_k(scores, k)
    return ranked(items, values, k)


def _look_up(scores: Tensor, items: Tensor) -> Tensor:
    """(rows, n_items) scores of (rows, m) items, -inf where the item is -1."""
    return scores.gather(1, items.clamp(min=0)).masked_fill(items < 0, -torch.inf)


def without(scores: Tensor, exclude: Tensor) -> Tensor:
    """A copy of (rows, n_items) scores with -inf at the excluded items of each row; -1 excludes nothing."""
    checked = checked_exclude(exclude, len(scores), scores.shape[1], scores.device)
    if checked is None:
        return scores.clone()
    padded = torch.cat([scores, scores.new_empty(len(scores), 1)], 1)  # one column more takes the -1
    n_items = scores.shape[1]
    padded.scatter_(1, torch.where(checked >= 0, checked, n_items), -torch.inf)
    return padded[:, :n_items]


def search_cases(
    model: TwoStreamModel, cases: Sequences, rows: NDArray[np.int64], k: int, config: SearchConfig
) -> Iterator[tuple[NDArray[np.int64], Rankings, Rankings]]:
    """Rank for many histories, in batches of like length.

    cases:  the histories; the model reads the most recent items of each, filtering removes all of them
    rows:   (n,) which of them
    yields  rows of a batch, their lists with and without the items of the history.
    """
    device = next(model.parameters()).device
    order = rows[np.argsort(cases.lengths[rows], kind="stable")]
    with evaluating(model):  # once for all batches, or what is folded for a search would be folded for each
        for start in range(0, len(order), config.batch_size):
            batch = order[start : start + config.batch_size]
            some = take(cases, batch)
            longest = max(1, int(some.lengths.max()))
            seen = torch.from_numpy(some.last(longest)[0]).to(device)
            history, lengths = some.last(min(longest, model.config.max_history))
            raw, filtered = search(
                model,
                torch.from_numpy(history).to(device),
                torch.from_numpy(lengths).to(device),
                k,
                [None, seen],
                config,
            )
            yield batch, raw, filtered


def take(sequences: Sequences, rows: NDArray[np.int64]) -> Sequences:
    """Some of the lists, in the order given."""
    lengths = sequences.lengths[rows]
    items = sequences.items[ranges(sequences.offsets[rows], lengths)]
    return Sequences(offsets_of(lengths), items, sequences.user[rows])
