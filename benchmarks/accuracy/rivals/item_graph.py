"""The item graph as a method of its own, alone and with text similarity. Nothing is trained."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.accuracy.rivals.method import Fitted, Job, Rival
from gen_rec.data.interactions import Sequences
from gen_rec.embeddings.store import load_embeddings
from gen_rec.ranking.config import GraphConfig
from gen_rec.ranking.features import GRAPH_SCALE, TEXT_ITEMS, ItemFacts
from gen_rec.ranking.item_graph import ItemGraph

Floats = NDArray[np.float32]
Similarity = Literal["mean", "max"]


@dataclass
class TextGraphSettings:
    """score = log(1 + 1000 graph) + text_weight * cosine"""

    graph: GraphConfig = field(default_factory=GraphConfig)
    """The item graph."""
    text: Similarity = "max"
    """Which cosine: with the nearest text of the history, or with the decayed mean of its texts. They are ``text_max``
    and ``text_mean`` of ``gen_rec.ranking.features``: an item of the history is compared with the others only."""
    text_weight: float = 1.0
    """Weight of the cosine."""
    text_decay: float = 0.7
    """In the mean an item's text counts this factor less for each item that came after it."""


class GraphScorer:
    """The graph's scores; an item without an edge from the history is no recommendation."""

    def __init__(self, graph: ItemGraph) -> None:
        self.graph = graph

    def scores(self, histories: Sequences) -> Tensor:
        """(rows, n_items)"""
        found = torch.from_numpy(graph_scores(self.graph, histories))
        return found.masked_fill_(found <= 0, -torch.inf)


class TextGraphScorer:
    """The graph's scores and the texts' together, so that an item without an edge can be recommended for its text.

    text: (n_items, d) unit vectors
    """

    def __init__(self, graph: ItemGraph, text: Floats, settings: TextGraphSettings) -> None:
        self.graph, self.text, self.settings = graph, text, settings

    def scores(self, histories: Sequences) -> Tensor:
        """(rows, n_items)"""
        settings = self.settings
        found = np.log1p(GRAPH_SCALE * graph_scores(self.graph, histories))
        found += settings.text_weight * text_scores(self.text, histories, settings.text, settings.text_decay)
        return torch.from_numpy(found)


def graph_scores(graph: ItemGraph, histories: Sequences) -> Floats:
    """(rows, n_items) of all items of the histories together."""
    return np.concatenate([scores for _, scores, _ in graph.blocks(histories)])


def text_scores(text: Floats, histories: Sequences, similarity: Similarity, decay: float) -> Floats:
    """How near every item's text is to those of each history, of which the last ``TEXT_ITEMS`` count.

    text:    (n_items, d) unit vectors
    returns  (rows, n_items) cosines; 0 where a history holds no other item.
    """
    items, lengths = histories.last(max(1, min(TEXT_ITEMS, int(histories.lengths.max(initial=0)))))  # (rows, t)
    return _nearest(text, items, lengths) if similarity == "max" else _with_mean(text, items, lengths, decay)


def _nearest(text: Floats, items: NDArray[np.int64], lengths: NDArray[np.int64]) -> Floats:
    """The largest cosine with another item of the history, one place of the histories at a time."""
    found = np.full((len(items), len(text)), -np.inf, dtype=np.float32)
    for place in range(items.shape[1]):
        rows = np.flatnonzero(lengths > place)
        own = items[rows, place]
        cosine = text[own] @ text.T  # (rows that are so long, n_items)
        cosine[np.arange(len(rows)), own] = -np.inf  # not with itself
        found[rows] = np.maximum(found[rows], cosine)
    return np.where(np.isfinite(found), found, np.float32(0.0))


def _with_mean(text: Floats, items: NDArray[np.int64], lengths: NDArray[np.int64], decay: float) -> Floats:
    """The cosine with the decayed mean of the other texts of the history."""
    age = lengths[:, None] - 1 - np.arange(items.shape[1])  # (rows, t), negative after the end
    weights = np.where(age >= 0, decay ** age.clip(min=0).astype(np.float32), 0.0).astype(np.float32)
    mean = np.einsum("rt,rtd->rd", weights, text[items.clip(min=0)])
    along = mean @ text.T  # (rows, n_items)
    found = along / np.linalg.norm(mean, axis=1, keepdims=True).clip(min=1e-6)
    row, place = np.nonzero(age >= 0)
    pairs, which = np.unique(row * len(text) + items[row, place], return_inverse=True)
    owner, own = np.divmod(pairs, len(text))  # every item of every history once
    mine = np.bincount(which, weights[row, place]).astype(np.float32)
    rest = mean[owner] - mine[:, None] * text[own]  # (pairs, d) the mean without the item itself
    length = np.linalg.norm(rest, axis=1)
    found[owner, own] = np.where(length > 1e-5, (along[owner, own] - mine) / length.clip(min=1e-5), 0.0)
    return found


def fit_graph(job: Job, settings: GraphConfig, folder: Path, key: str) -> Fitted:
    """Count the training histories."""
    graph = ItemGraph.build(job.dataset.train_sequences(), job.dataset.n_items, settings)
    return Fitted(GraphScorer(graph), {"edges": int(graph.edges.nnz)})


def fit_text_graph(job: Job, settings: TextGraphSettings, folder: Path, key: str) -> Fitted:
    """Count the training histories and read the run's text embeddings."""
    graph = ItemGraph.build(job.dataset.train_sequences(), job.dataset.n_items, settings.graph)
    text = load_embeddings(job.run.embeddings("semantic"), job.dataset.n_items)[0]
    unit = ItemFacts.of(job.dataset, text, clock=False).text
    assert unit is not None
    return Fitted(TextGraphScorer(graph, unit, settings), {"edges": int(graph.edges.nnz)})


ITEM_GRAPH = Rival("item-graph", GraphConfig, fit_graph)
ITEM_GRAPH_TEXT = Rival(
    "item-graph-text",
    TextGraphSettings,
    fit_text_graph,
    inputs=lambda run: [run.embeddings("semantic")],
    texts=True,
)
