"""What is measured on: the sequences of Amazon Beauty, and codes and models of its size.

Codes are drawn at random in an equal-sized tree and weights are fresh: neither changes how long anything takes. Where
``$GEN_REC_DATA`` does not hold the real set, sequences of the same number and lengths are drawn (``real`` says which).
"""

import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from gen_rec.data.config import DataConfig
from gen_rec.data.interactions import Cases, Dataset, Sequences, offsets_of
from gen_rec.data.prepare import prepare
from gen_rec.models.config import ModelConfig
from gen_rec.models.two_stream import TwoStreamModel
from indexing import Trie

Size = Literal["full", "smoke"]
SET = "amazon-beauty"
N_USERS, N_ITEMS = 22_363, 12_101
SMOKE_USERS, SMOKE_ITEMS = 120, 90


@dataclass(frozen=True)
class Workload:
    """A data set as the measurements see it.

    train: training part of every user; cases: history before the test target, and that target
    real:  whether these are the sequences of Amazon Beauty
    """

    train: Sequences
    cases: Cases
    n_items: int
    real: bool


@cache
def beauty(size: Size = "full") -> Workload:
    """The sequences of Amazon Beauty, or something of that shape; ``smoke`` is a tiny drawn one."""
    root = os.environ.get("GEN_REC_DATA")
    if size == "full" and root and (Path(root) / SET).is_dir():
        with tempfile.TemporaryDirectory() as folder:
            prepare(DataConfig(set=SET, root=root), folder)
            dataset = Dataset.load(folder)
        return Workload(dataset.train_sequences(), dataset.cases("test"), dataset.n_items, True)
    n_users, n_items = (N_USERS, N_ITEMS) if size == "full" else (SMOKE_USERS, SMOKE_ITEMS)
    return drawn(n_users, n_items)


def drawn(n_users: int, n_items: int, mean_length: float = 8.9, max_length: int = 200, seed: int = 0) -> Workload:
    """Users with at least five items, lengths geometric above that, popularity by a power law."""
    rng = np.random.default_rng(seed)
    lengths = np.minimum(4 + rng.geometric(1 / max(1.01, mean_length - 4), n_users), max_length)
    items = (rng.random(int(lengths.sum())) ** 2 * n_items).astype(np.int32)
    users = np.arange(n_users, dtype=np.int32)
    offsets = offsets_of(lengths)
    ends = offsets[1:] - 1  # the test target of every user
    history = np.ones(len(items), dtype=bool)
    history[ends] = False
    trained = history.copy()
    trained[ends - 1] = False  # the validation target
    return Workload(
        Sequences(offsets_of(lengths - 2), items[trained], users),
        Cases(offsets_of(lengths - 1), items[history], users, items[ends]),
        n_items,
        False,
    )


def balanced_codes(n_items: int, branching: int = 256, seed: int = 0) -> np.ndarray:
    """(n_items, depth) int32 codes of an equal-sized tree, items in random order; split until one item is left."""
    depth = 1
    while branching**depth < n_items:
        depth += 1
    codes = np.empty((n_items, depth), dtype=np.int32)
    place, size = np.arange(n_items), np.full(n_items, n_items)  # place within a node of that size
    for level in range(depth):
        codes[:, level] = np.minimum(place * branching // size, branching - 1)
        start = -(-codes[:, level].astype(np.int64) * size // branching)
        end = -(-(codes[:, level].astype(np.int64) + 1) * size // branching)
        place, size = place - start, end - start
    return np.random.default_rng(seed).permutation(codes)


def published_shape(**changes: object) -> ModelConfig:
    """The shape of EAGER's published code: width 96, one encoder layer, two layers a decoder, histories of 19."""
    shape: dict[str, object] = {
        "hidden_size": 96, "num_heads": 4, "inner_size": 384, "encoder_layers": 1, "decoder_layers": 2,
        "dropout": 0.1, "embedding_dropout": 0.1, "max_history": 19, "item_content": False, "code_content": False,
        "tied": "none", "look_ahead": False, "repeat_bias": False,
    }  # fmt: skip
    return ModelConfig(**{**shape, **changes})  # type: ignore[arg-type]


def fresh_model(n_items: int, branching: int = 128, config: ModelConfig | None = None, seed: int = 0) -> TwoStreamModel:
    """A model with random weights over random equal-sized codes, one tree a stream."""
    config = config or published_shape()
    torch.manual_seed(seed)
    tries = {
        stream: Trie.from_codes(balanced_codes(n_items, branching, seed + i), None)
        for i, stream in enumerate(config.streams)
    }
    return TwoStreamModel(config, tries, None)
