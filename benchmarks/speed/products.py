"""The matrix products that a training step cannot do without, and how fast this machine multiplies."""

import statistics

import numpy as np
import torch

from benchmarks.speed.timing import repeat
from gen_rec.data.batches import Int64Array, TrainingRows
from gen_rec.models.two_stream import TwoStreamModel

SIDE = 2048
"""Rows and columns of the square product whose rate is the bound: large enough to be the machine's best."""


def products_of_step(model: TwoStreamModel, rows: TrainingRows, batch: Int64Array) -> float:
    """Floating-point operations of the products of one step of generation: forward, and twice as many backward.

    Only real positions and real targets count, each encoded and decoded once, without the summary token; padding, and
    anything that is no product, is not in the bound. Attention counts the pairs that may look at one another; a level
    scores the children that its parent has.
    """
    config = model.config
    d, inner = config.hidden_size, config.inner_size
    lengths = rows.lengths[batch].astype(np.float64)
    positions = lengths.sum()
    pairs = (lengths * (lengths + 1) / 2).sum()  # causal: an item and those before it
    layer = positions * (4 * d * d + 2 * d * inner) + pairs * 2 * d
    total = config.encoder_layers * layer

    padded = rows.batch(batch)
    targets = torch.from_numpy(padded.targets[padded.targets >= 0])
    n = float(len(targets))
    for decoder in model.streams.values():
        trie = decoder.trie
        depth = trie.depth
        tokens = n * depth
        own = n * (depth * (depth + 1) / 2 - 1)  # pairs of code tokens; the first sees itself alone and needs no query
        layer = tokens * (4 * d * d + 2 * d * d + 2 * d * inner)  # self-attention, cross queries and output, inner net
        layer -= n * d * d
        layer += positions * 2 * d * d  # cross keys and values, once a position
        layer += (own + pairs * depth) * 2 * d
        total += config.decoder_layers * layer
        for level in range(depth):
            nodes = trie.item_nodes[targets, level - 1] if level else torch.zeros_like(targets)
            total += float(trie.mask(level, nodes).sum()) * d
    return 2 * 3 * total


def rate_of_products(repetitions: int = 5, side: int = SIDE) -> float:
    """Operations a second of a square float32 product, the median of some repetitions of a quarter second or more."""
    a, b = torch.randn(side, side), torch.randn(side, side)
    calls = max(1, 2048**3 // side**3)

    def work() -> None:
        for _ in range(calls):
            torch.mm(a, b)

    return 2 * side**3 * calls / statistics.median(repeat(work, repetitions, 2))
