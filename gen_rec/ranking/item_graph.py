"""The item graph: which items stand near each other in histories. It is counted, not trained.

Two items of one history, d places apart, add d ** -p to their edge in both directions. Every edge is then divided by
the degrees of its ends, each to a power, so that popular items do not fill every list. A history's score of an item is
the sum of the edges from the history's items, those that came earlier weighing less.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from gen_rec.data.interactions import Sequences, ranges
from gen_rec.errors import GenRecError
from gen_rec.extras import require
from gen_rec.files import atomic_path
from gen_rec.ranking.config import GraphConfig

CHUNK_PAIRS = 1 << 22
"""Pairs that are counted at once while a graph is built: about 100 MB."""
BLOCK_CELLS = 1 << 23
"""Users x items of a block of scores: 32 MB."""


class ItemGraph:
    """Normalised edges between items.

    edges:  (n_items, n_items) float32 sparse rows, symmetric
    config: what it was counted with; ``history_decay`` is used by the scores
    """

    def __init__(self, edges: Any, config: GraphConfig) -> None:
        self.edges, self.config = edges, config

    @property
    def n_items(self) -> int:
        return int(self.edges.shape[0])

    @classmethod
    def build(cls, sequences: Sequences, n_items: int, config: GraphConfig) -> "ItemGraph":
        """Count a graph.

        sequences: histories of the training part, oldest item first
        """
        sparse = _sparse()
        counted = sparse.csr_array((n_items, n_items), dtype=np.float64)
        for rows, columns, weights in _pairs(sequences, config):
            counted = counted + sparse.coo_array((weights, (rows, columns)), shape=(n_items, n_items)).tocsr()
        counted = (counted + counted.T).tocsr()  # each pair was counted once, from the earlier item to the later
        if not config.self_loops:
            counted.setdiag(0.0)
            counted.eliminate_zeros()
        degrees = np.asarray(counted.sum(axis=1)).ravel()  # (n_items,)
        scale = np.where(degrees > 0, degrees, 1.0) ** -config.degree_power
        rows = np.repeat(np.arange(n_items), np.diff(counted.indptr))
        counted.data *= scale[rows] * scale[counted.indices]
        counted.sort_indices()
        return cls(counted.astype(np.float32), config)

    def blocks(self, histories: Sequences) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32]]]:
        """Scores of the whole catalogue, some histories at a time, so that memory does not grow with their number.

        yields  which histories, (rows, n_items) scores of all their items together, (rows, n_items) of their last item;
                0 where nothing leads from the history to the item.
        """
        step = max(1, BLOCK_CELLS // max(1, self.n_items))
        for start in range(0, len(histories), step):
            some = slice(start, min(start + step, len(histories)))
            weights, last = self._weights(histories, some)
            yield some, (weights @ self.edges).toarray(), (last @ self.edges).toarray()

    def _weights(self, histories: Sequences, some: slice) -> tuple[Any, Any]:
        """(rows, n_items) sparse: the weight of each history item, and the same of the last one alone."""
        offsets = histories.offsets[some.start : some.stop + 1]
        items = histories.items[offsets[0] : offsets[-1]]
        lengths = np.diff(offsets)
        row = np.repeat(np.arange(len(lengths)), lengths)
        age = np.repeat(offsets[1:], lengths) - 1 - np.arange(offsets[0], offsets[-1])  # 0 for the last item
        weights = np.float32(self.config.history_decay) ** age.astype(np.float32)
        shape = (len(lengths), self.n_items)
        coo = _sparse().coo_array
        newest = age == 0
        ones = np.ones(int(newest.sum()), dtype=np.float32)
        return (
            coo((weights, (row, items)), shape=shape).tocsr(),
            coo((ones, (row[newest], items[newest])), shape=shape).tocsr(),
        )

    def save(self, path: str | Path) -> None:
        """Write the edges and their settings as one safetensors file."""
        tensors = {name: getattr(self.edges, name) for name in ("data", "indices", "indptr")}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata={"config": json.dumps(asdict(self.config))})

    @classmethod
    def load(cls, path: str | Path) -> "ItemGraph":
        """raises GenRecError where the file is missing or damaged."""
        try:
            with safe_open(path, framework="numpy") as file:
                data, indices, indptr = (file.get_tensor(name) for name in ("data", "indices", "indptr"))
                config = GraphConfig(**json.loads(file.metadata()["config"]))
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise GenRecError(f"{path}: not a whole item graph ({error}); make it again: gen-rec rerank") from error
        n_items = len(indptr) - 1
        return cls(_sparse().csr_array((data, indices, indptr), shape=(n_items, n_items)), config)


def _pairs(
    sequences: Sequences, config: GraphConfig
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]]:
    """Every pair of an earlier and a later item with its weight, ``CHUNK_PAIRS`` at a time."""
    lengths = sequences.lengths
    longest = int(lengths.max(initial=0))
    reach = min(longest - 1, config.max_distance or longest)
    held: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]] = []
    size = 0
    by_length = np.argsort(-lengths, kind="stable")
    for distance in range(1, reach + 1):
        n_long = int(np.searchsorted(-lengths[by_length], -distance, side="left"))  # lists longer than the distance
        lists = by_length[:n_long]
        ends = np.cumsum(lengths[lists] - distance)
        cuts = np.searchsorted(ends, np.arange(CHUNK_PAIRS, int(ends[-1]) if n_long else 0, CHUNK_PAIRS))
        for part in np.split(lists, np.unique(cuts)):
            first = ranges(sequences.offsets[part], lengths[part] - distance)
            weight = np.full(len(first), float(distance) ** -config.distance_power)
            held.append((sequences.items[first], sequences.items[first + distance], weight))
            size += len(first)
            if size >= CHUNK_PAIRS:
                yield _joined(held)
                held, size = [], 0
    if held:
        yield _joined(held)


def _joined(
    parts: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]],
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float64]]:
    rows, columns, weights = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(weights)


def _sparse() -> Any:
    return require("scipy.sparse", extra="rerank", purpose="the item graph")
