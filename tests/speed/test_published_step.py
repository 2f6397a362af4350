"""The published arrangement of a training step: a distribution over items; and the products that a step must do."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip("transformers")

from benchmarks.speed.products import products_of_step
from benchmarks.speed.rivals.published_step import PublishedModel
from benchmarks.speed.training_step import GENERATION_ONLY, OurStep
from benchmarks.speed.workload import Workload, drawn, fresh_model, published_shape
from gen_rec.data.interactions import Cases, Sequences
from gen_rec.models.config import ModelConfig

N_ITEMS = 30


def small(**changes: object) -> ModelConfig:
    return published_shape(**{"hidden_size": 16, "num_heads": 2, "inner_size": 32, "max_history": 6, **changes})


def test_the_rival_learns_a_distribution_over_items_whatever_the_padding() -> None:
    ours = fresh_model(N_ITEMS, branching=6, config=small())
    tries = {name: decoder.trie for name, decoder in ours.streams.items()}
    rival = PublishedModel(small(), tries).eval()
    history = torch.tensor([[3, 7, 1]])
    padded = torch.nn.functional.pad(history, (0, 3), value=-1)
    with torch.no_grad():
        for name, stream in rival.streams.items():
            depth = tries[name].depth
            losses = torch.stack([stream(history, torch.tensor([item])) for item in range(N_ITEMS)])
            assert float((-losses * depth).exp().sum()) == pytest.approx(1.0, abs=1e-5)  # float32
            assert float(stream(padded, torch.tensor([4]))) == pytest.approx(float(losses[4]), abs=1e-5)
        both = rival(history, torch.tensor([4]))
        alone = [stream(history, torch.tensor([4])) for stream in rival.streams.values()]
        assert float(both) == pytest.approx(float(sum(alone)), abs=1e-6)


def test_products_are_those_that_torch_counts_where_nothing_is_padded() -> None:
    """Full trees and histories of one length: what torch counts in a step is what it cannot do without, but for the
    attention among codes, which is no product here, and the pairs of positions that causality hides."""
    n_items, length = 64, 7
    items = np.random.default_rng(0).integers(n_items, size=8 * length).astype(np.int32)
    offsets, users = np.arange(9) * length, np.arange(8, dtype=np.int32)
    train = Sequences(offsets, items, users)
    shape = small(hidden_size=64, inner_size=128, dropout=0.0, embedding_dropout=0.0)
    work = Workload(train, Cases(offsets, items, users, items[:8]), n_items, False)
    step = OurStep(work, shape, GENERATION_ONLY, rows=8)
    step.model = step.objective.model
    with FlopCounterMode(display=False) as counter:
        step(step.batches[0])
    must = products_of_step(step.model, step.rows, step.batches[0])
    assert 0.85 < must / counter.get_total_flops() < 1.02


def test_every_target_is_counted_once() -> None:
    work = drawn(40, N_ITEMS)
    step = OurStep(work, small(), GENERATION_ONLY, rows=8)
    expected = int(np.maximum(work.train.lengths - 1, 0).sum())
    assert sum(step(rows) for rows in step.batches) == expected
