"""From histories to candidates with features: search, neighbours, and everything that is known of a candidate."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gen_rec.data.interactions import Sequences
from gen_rec.evaluation.metrics import RankedLists, as_lists
from gen_rec.models.scoring import StreamScorer, stream_scorers
from gen_rec.models.two_stream import TwoStreamModel
from gen_rec.precision import product_type
from gen_rec.ranking.candidates import Candidates, gather_candidates, graph_candidates
from gen_rec.ranking.config import RerankConfig
from gen_rec.ranking.features import Floats, ItemFacts, feature_table
from gen_rec.ranking.item_graph import ItemGraph
from gen_rec.retrieval import Rankings, SearchConfig, evaluating, is_exact, search, take, without
from indexing import exact_scores, score_items
from indexing.ranking import ranked, top_k

PairScorer = Callable[[Sequences, NDArray[np.int64]], Floats]
"""Histories and their candidates (rows, c), -1 for none, to scores (rows, c); EmbSum's place in the features."""


class Pool(NamedTuple):
    """The candidates of a batch of histories.

    places:     (b,) their places among those that were asked for
    candidates: items and which of them are in the history
    values:     (b, c, f) features, NaN where unknown
    raw:        what the search found, before anything is ranked anew: with the items of the history
    filtered:   the same without them
    """

    places: NDArray[np.int64]
    candidates: Candidates
    values: Floats
    raw: RankedLists
    filtered: RankedLists


@dataclass(frozen=True)
class Gatherer:
    """Everything that gives candidates and features; ``pools`` is the way in.

    names:  the features, in the order of the tables
    model:  a trained model; its streams give the first candidates
    search: how it is searched
    embsum: scores of EmbSum, where that is a feature
    """

    names: list[str]
    model: TwoStreamModel
    search: SearchConfig
    graph: ItemGraph
    facts: ItemFacts
    config: RerankConfig
    embsum: PairScorer | None = None

    def pools(
        self, histories: Sequences, rows: NDArray[np.int64], lists: NDArray[np.int64] | None = None
    ) -> Iterator[Pool]:
        """Candidates of some histories, ``search.batch_size`` at a time, in batches of like length.

        lists: (len(rows), m) the candidates, where they are given; searched for when None
        """
        order = np.argsort(histories.lengths[rows], kind="stable")
        for start in range(0, len(order), self.search.batch_size):
            place = order[start : start + self.search.batch_size]
            yield self.pool(take(histories, rows[place]), place, None if lists is None else lists[place])

    def pool(self, some: Sequences, places: NDArray[np.int64], given: NDArray[np.int64] | None = None) -> Pool:
        """Candidates and features of one batch. some: its histories; places: what they are called.

        Without dropout, in whatever mode the model is.
        """
        with evaluating(self.model):
            return self._pool(some, places, given)

    def _pool(self, some: Sequences, places: NDArray[np.int64], given: NDArray[np.int64] | None) -> Pool:
        history, lengths, seen = self._inputs(some)
        with torch.no_grad():
            dtype = product_type(self.search.precision, history.device)
            scorers = stream_scorers(self.model, history, lengths, dtype)
            whole = self._whole(scorers) if is_exact(self.model, self.search) else None
        graph, graph_last = self._graph_scores(some)
        if given is None:
            before = self._search(history, lengths, seen, whole)
            lists = [found.items for found in before]
            if self.config.graph_candidates:
                lists += graph_candidates(graph.copy(), some, self.config.graph_candidates)
        else:
            lists, nothing = [given], RankedLists(given[:, :0], np.zeros((len(given), 0), dtype=np.float32))
            before = [nothing, nothing]
        candidates = gather_candidates(some, lists)
        picked = candidates.items.clip(min=0)
        scores = self._stream_scores(scorers, whole, candidates.items)
        scores["graph"] = np.take_along_axis(graph, picked, 1)
        scores["graph_last"] = np.take_along_axis(graph_last, picked, 1)
        if self.embsum is not None:
            scores["embsum"] = neutral_where_seen(self.embsum(some, candidates.items), candidates)
        scores["repeat"] = candidates.seen.astype(np.float32)
        values = feature_table(self.names, candidates.items, self.facts, some, self.config.text_decay, scores)
        return Pool(places, candidates, values, before[0], before[1])

    def _graph_scores(self, some: Sequences) -> tuple[Floats, Floats]:
        """(rows, n_items) each."""
        blocks = [(whole, last) for _, whole, last in self.graph.blocks(some)]
        return np.concatenate([whole for whole, _ in blocks]), np.concatenate([last for _, last in blocks])

    def _inputs(self, some: Sequences) -> tuple[Tensor, Tensor, Tensor]:
        """Histories and lengths for the model, and all items of the histories; (rows, t), (rows,), (rows, longest)."""
        device = next(self.model.parameters()).device
        longest = max(1, int(some.lengths.max(initial=0)))
        history, lengths = some.last(min(longest, self.model.config.max_history))
        arrays = history, lengths, some.last(longest)[0]
        first, second, third = (torch.from_numpy(array).to(device) for array in arrays)
        return first, second, third

    def _whole(self, scorers: dict[str, StreamScorer]) -> dict[str, Tensor]:
        """Each stream's log-probability of the whole catalogue, (rows, n_items)."""
        return {name: exact_scores(scorer, self.model.streams[name].trie) for name, scorer in scorers.items()}

    def _search(
        self, history: Tensor, lengths: Tensor, seen: Tensor, whole: dict[str, Tensor] | None
    ) -> list[RankedLists]:
        """The fused lists, with and without the items of the histories. whole: scores of all items, where there are any

        What ``retrieval.search`` gives; it is asked only where its lists do not follow from ``whole`` alone.
        """
        k, w = min(self.config.candidates, self.graph.n_items), self.search.behavior_weight
        if whole is not None and (len(whole) == 1 or self.search.fusion == "sum"):
            total = next(iter(whole.values()))
            if len(whole) == 2:
                total = w * whole["behavior"] + (1 - w) * whole["semantic"]
            found = []
            for allowed in (total, without(total, seen)):
                scores, items = top_k(allowed, k)
                found.append(as_lists(ranked(items, scores, k)))
            return found
        config = replace(self.search, beams=max(self.search.beams, k))
        return [as_lists(_best(each)) for each in search(self.model, history, lengths, k, [None, seen], config, True)]

    def _stream_scores(
        self, scorers: dict[str, StreamScorer], whole: dict[str, Tensor] | None, items: NDArray[np.int64]
    ) -> dict[str, Floats]:
        """Each stream's log-probability of every candidate: (rows, c), -inf where there is no item."""
        found = {}
        for name, scorer in scorers.items():
            wanted = torch.from_numpy(items).to(scorer.device)
            if whole is None:
                scores = score_items(scorer, self.model.streams[name].trie, wanted)
            else:
                scores = whole[name].gather(1, wanted.clamp(min=0)).masked_fill(wanted < 0, -torch.inf)
            found[name] = scores.float().cpu().numpy()
        return found


def neutral_where_seen(scores: Floats, candidates: Candidates) -> Floats:
    """Scores (rows, c) in which items of the history have the mean of the list's other items.

    EmbSum learns from what comes next and never has an item of the history for or against it; the history's own texts
    would give such an item a score that no other can reach.
    """
    unseen = candidates.unseen
    others = np.where(unseen, scores, 0.0).sum(1, keepdims=True) / np.maximum(1, unseen.sum(1, keepdims=True))
    return np.where(candidates.seen & candidates.real, others, scores).astype(np.float32)


def _best(found: Rankings) -> RankedLists:
    """The fused list, or that of the only stream."""
    return as_lists(found.fused if found.fused is not None else next(iter(found.streams.values())))


def stacked(parts: Sequence[NDArray[Any]], fill: float | bool) -> NDArray[Any]:
    """Tables (b, c, ...) of different c as one, filled up to the widest."""
    width = max(part.shape[1] for part in parts)
    pads = [[(0, 0), (0, width - part.shape[1]), *[(0, 0)] * (part.ndim - 2)] for part in parts]
    return np.concatenate([np.pad(part, pad, constant_values=fill) for part, pad in zip(parts, pads, strict=True)])
