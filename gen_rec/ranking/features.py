"""What is known of a candidate: a table of features, with NaN where something is not known.

| feature | of a user and a candidate | unknown |
|---|---|---|
| behavior, semantic | the stream's log-probability | never |
| graph, graph_last | log(1 + 1000 s), s the graph's score from the history, from its last item | never (0: no edge) |
| text_mean | cosine of the candidate's text with the decayed mean of the other history items' | no other item |
| text_last, text_max | cosine with the last other item's text, with the nearest other item's | no other item |
| popularity | log(1 + interactions in training) | never |
| recency | log(1 + days from its last interaction in training to the end of training) | never trained, no real clock |
| embsum | EmbSum's score; of an item of the history, the mean of the list's others | users that were not encoded |
| repeat | 1 for an item of the history, else 0 | never |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from gen_rec.data import columns as c
from gen_rec.data.interactions import Dataset, Sequences
from gen_rec.errors import GenRecError
from gen_rec.files import atomic_path

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
GRAPH_SCALE = 1000.0
"""Graph scores are small numbers; this puts the bend of the logarithm below nearly all of them."""
TEXT_ITEMS = 50
"""Most recent items of a history whose texts are compared with the candidates'."""
GATHERED = 1 << 24
"""Numbers of text vectors gathered at once: 64 MB."""
DAY = 86_400.0


@dataclass(frozen=True)
class ItemFacts:
    """What is known of the items, whoever asks.

    popularity: (n_items,) log(1 + interactions in training)
    recency:    (n_items,) log(1 + days since the last one), NaN where never; None where times are no clock
    text:       (n_items, d) unit vectors of the items' texts; None where a run has none
    """

    popularity: Floats
    recency: Floats | None
    text: Floats | None

    @classmethod
    def of(cls, dataset: Dataset, text: Floats | None, clock: bool) -> "ItemFacts":
        """clock: whether the data set's times are real"""
        train = dataset.split == c.TRAIN
        recency = None
        if clock and train.any():
            last = np.full(dataset.n_items, -np.inf)
            np.maximum.at(last, dataset.item_index[train], dataset.timestamps[train].astype(np.float64))
            days = (last.max() - last) / DAY
            recency = np.where(np.isfinite(days), np.log1p(np.where(np.isfinite(days), days, 0.0)), np.nan)
            recency = recency.astype(np.float32)
        if text is not None:
            text = text / np.maximum(np.linalg.norm(text, axis=1, keepdims=True), 1e-12)
        return cls(np.log1p(dataset.train_counts()).astype(np.float32), recency, text)

    def names(self) -> list[str]:
        """The features that these facts can give."""
        texts = ["text_mean", "text_last", "text_max"] if self.text is not None else []
        return [*texts, "popularity", *(["recency"] if self.recency is not None else [])]

    def save(self, path: Path) -> None:
        tensors = {name: value for name, value in vars(self).items() if value is not None}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary)

    @classmethod
    def load(cls, path: Path) -> "ItemFacts":
        """raises GenRecError where the file is missing or damaged."""
        try:
            tensors: dict[str, Any] = load_file(path)
            return cls(tensors["popularity"], tensors.get("recency"), tensors.get("text"))
        except (SafetensorError, OSError, KeyError) as error:
            raise GenRecError(f"{path}: not a whole table of items ({error}); make it again: gen-rec rerank") from error


def feature_table(
    names: list[str], items: NDArray[np.int64], facts: ItemFacts, histories: Sequences, decay: float,
    given: Mapping[str, Floats],
) -> Floats:  # fmt: skip
    """Features of candidates.

    names:   which, in the order of the result
    items:   (rows, c) int64, -1 for nothing
    facts:   of the items
    decay:   of the texts in ``text_mean``
    given:   (rows, c) of the features that are computed elsewhere; ``graph`` and ``graph_last`` as the graph has them
    returns  (rows, c, len(names)) float32, NaN where unknown and where there is no item.
    """
    table = np.full((*items.shape, len(names)), np.nan, dtype=np.float32)
    picked = items.clip(min=0)
    texts: dict[str, Floats] = {}
    if facts.text is not None and any(name.startswith("text_") for name in names):
        texts = text_features(facts.text, items, histories, decay)
    for column, name in enumerate(names):
        if name in ("graph", "graph_last"):
            table[..., column] = np.log1p(GRAPH_SCALE * given[name])
        elif name in given:
            table[..., column] = np.where(np.isfinite(given[name]), given[name], np.nan)
        elif name in texts:
            table[..., column] = texts[name]
        elif name == "popularity":
            table[..., column] = facts.popularity[picked]
        elif name == "recency" and facts.recency is not None:
            table[..., column] = facts.recency[picked]
        else:
            raise GenRecError(f"the feature {name!r} cannot be computed from what was given; leave it out of "
                              "rerank.features")  # fmt: skip
    table[items < 0] = np.nan
    return table


def text_features(text: Floats, items: NDArray[np.int64], histories: Sequences, decay: float) -> dict[str, Floats]:
    """How near a candidate's text is to those of the history.

    text:    (n_items, d) unit vectors
    items:   (rows, c) int64, -1 for nothing
    returns  ``text_mean``, ``text_last`` and ``text_max``, each (rows, c). An item of the history is compared with the
             others only; NaN where there is none.
    """
    longest = max(1, min(TEXT_ITEMS, int(histories.lengths.max(initial=0))))
    history, lengths = histories.last(longest)  # (rows, t)
    found = {name: np.full(items.shape, np.nan, dtype=np.float32) for name in ("text_mean", "text_last", "text_max")}
    table = torch.from_numpy(text)
    step = max(1, GATHERED // (items.shape[1] * text.shape[1]))
    for start in range(0, len(items), step):
        some = slice(start, start + step)
        past, n = torch.from_numpy(history[some]), torch.from_numpy(lengths[some])
        own = torch.from_numpy(items[some])
        vectors = table[past.clamp(min=0)]  # (b, t, d)
        cosine = table[own.clamp(min=0)] @ vectors.transpose(1, 2)  # (b, c, t)
        age = n[:, None] - 1 - torch.arange(longest)  # (b, t), negative after the end
        weight = torch.where(age >= 0, decay ** age.clamp(min=0).float(), 0.0)
        other = (age >= 0)[:, None] & (own[:, :, None] != past[:, None])  # (b, c, t)
        # The sum of all weighted texts, less the candidate's own w x: its product with x, and its squared length
        whole = torch.einsum("bt,btd->bd", weight, vectors).square().sum(1, keepdim=True)  # (b, 1)
        along = torch.einsum("bct,bt->bc", cosine, weight)
        mine = (weight[:, None] * ~other).sum(2)
        length = (whole - 2 * mine * along + mine.square()).clamp(min=1e-12).sqrt()
        newest = torch.where(other, torch.arange(longest), -1).amax(2, keepdim=True)  # (b, c, 1)
        alone = newest[..., 0] < 0
        last = cosine.gather(2, newest.clamp(min=0))[..., 0]
        nearest = cosine.masked_fill(~other, -torch.inf).amax(2)
        for name, values in (("text_mean", (along - mine) / length), ("text_last", last), ("text_max", nearest)):
            found[name][some] = values.masked_fill(alone, torch.nan).numpy()
    return found
