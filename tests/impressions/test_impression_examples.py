"""Clicks as training rows, against plain loops over the impressions."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from tiny_embsum import shop_tokens, tiny_embsum

from gen_rec.data.interactions import Sequences, offsets_of
from gen_rec.embsum.model import EmbSum
from gen_rec.errors import DataError
from gen_rec.impressions.config import ImpressionConfig
from gen_rec.impressions.examples import ImpressionExamples, label_counts
from gen_rec.impressions.table import NO_TIME, Impressions
from gen_rec.training.source import TrainingSource

DEVICE = torch.device("cpu")
SHOWN = [  # history, candidates with labels
    (0, [(3, 1), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0)]),
    (0, [(4, 1), (6, 1), (7, 0), (7, 0), (4, 0)]),  # 7 twice, 4 once clicked and once not
    (1, [(9, 1), (10, 0)]),
    (2, [(1, 1), (2, 0)]),  # no history
    (1, [(8, 1), (3, 1)]),  # nothing unclicked
    (1, [(8, 0), (3, 0)]),  # nothing clicked
    (0, [(2, -1), (1, -1)]),  # not known
]  # fmt: skip
HISTORIES = [[0, 1, 2], [11, 5], []]
ROWS = [(0, 3), (1, 4), (1, 6), (2, 9)]
"""What there is to learn: impression, click."""


def impressions() -> Impressions:
    flat = [pair for _, shown in SHOWN for pair in shown]
    history = np.array([history for history, _ in SHOWN])
    lists = Sequences(
        offsets_of(np.array([len(items) for items in HISTORIES])), np.concatenate(HISTORIES).astype(np.int32),
        np.arange(3, dtype=np.int32),
    )  # fmt: skip
    return Impressions(
        np.array([f"i{i}" for i in range(len(SHOWN))], dtype=object), np.array(["a", "b", "c"], dtype=object),
        history.astype(np.int32), np.full(len(SHOWN), NO_TIME), lists, history,
        offsets_of(np.array([len(shown) for _, shown in SHOWN])),
        np.array([item for item, _ in flat], np.int32), np.array([label for _, label in flat], np.int8),
    )  # fmt: skip


@pytest.fixture(scope="module")
def model() -> EmbSum:
    return tiny_embsum()


def make(model: EmbSum, teacher: Any = None, seed: int = 0, **settings: int) -> ImpressionExamples:
    config = ImpressionConfig(**settings)  # type: ignore[arg-type]
    return ImpressionExamples(impressions(), shop_tokens(model), config, model.words.tokenizer, teacher, seed)


def read(batch: Any, texts: Any) -> list[tuple[int, set[int]]]:
    """The positive of each row and what counts against it, as item rows; every text of the shop is another one."""
    keys = {tuple(texts.candidates(np.array([item])).ids.tolist()): item for item in range(texts.n_items)}
    ids, offsets = batch.candidates.ids.tolist(), batch.candidates.offsets
    names = [keys[tuple(ids[a:b])] for a, b in pairwise(offsets)]
    found = []
    for row, positive in zip(batch.rows.tolist(), batch.positives.tolist(), strict=True):
        found.append((names[positive], {names[i] for i in batch.negative[row].nonzero()[:, 0].tolist()}))
    return found


def unclicked(impression: int) -> set[int]:
    shown = SHOWN[impression][1]
    return {item for item, label in shown if label == 0} - {item for item, label in shown if label == 1}


def test_rows_are_the_clicks_that_can_be_learnt(model: EmbSum) -> None:
    examples = make(model)
    source: TrainingSource = examples
    found = list(zip(examples.impression.tolist(), impressions().candidates[examples.clicks].tolist(), strict=True))
    assert found == ROWS
    assert (len(source), source.n_targets, examples.lengths.tolist()) == (4, 4, [3, 3, 3, 2])
    assert source.describe(np.array([1, 3])) == "2 clicks, of the impressions i1, i2 and others"
    clicked, other = label_counts(impressions())
    assert (clicked.tolist(), other.tolist()) == ([1, 2, 1, 1, 2, 0, 0], [5, 3, 1, 1, 0, 2, 0])
    # what is drawn from the whole set serves a click beside which nothing is unclicked
    assert len(make(model, uniform_negatives=2)) == 6
    steps = source.steps(3, 0, 0, 1)
    assert sorted(np.concatenate(steps).tolist()) == [0, 1, 2, 3]


def test_negatives_are_of_the_impression(model: EmbSum) -> None:
    examples = make(model, negatives=2)
    drawn: set[frozenset[int]] = set()
    for epoch in range(100):
        batch = examples.batch(np.arange(4), DEVICE, epoch)
        assert batch.n_targets == 4
        for (impression, click), (positive, against) in zip(ROWS, read(batch, examples.items), strict=True):
            assert positive == click
            assert against <= unclicked(impression)
            assert len(against) == min(2, len(unclicked(impression)))
        drawn.add(frozenset(read(batch, examples.items)[0][1]))
    assert len(drawn) == 10  # every pair of five, anew in each epoch; 100 draws miss one once in 4,000 seeds
    assert [len(against) for _, against in read(make(model, negatives=9).batch(np.arange(4), DEVICE, 0), examples.items)
            ] == [5, 1, 1, 1]  # fmt: skip


def test_uniform_negatives_are_nothing_of_the_user(model: EmbSum) -> None:
    examples = make(model, negatives=1, uniform_negatives=60)
    pool = {item for _, shown in SHOWN for item, _ in shown}
    batch = examples.batch(np.arange(len(examples)), DEVICE, 0)
    rows = [*ROWS, (4, 8), (4, 3)]
    for (impression, click), (positive, against) in zip(rows, read(batch, examples.items), strict=True):
        user = SHOWN[impression][0]
        mine = set(HISTORIES[user])
        mine |= {item for history, shown in SHOWN if history == user for item, label in shown if label == 1}
        assert positive == click
        extra = against - unclicked(impression)
        assert extra <= pool - mine
        assert len(extra) >= len(pool - mine - unclicked(impression)) - 1  # 60 draws of 10 items: all but rarely one


def test_what_is_drawn_depends_on_seed_epoch_and_rows(model: EmbSum) -> None:
    def some(seed: int, epoch: int) -> list[tuple[int, set[int]]]:
        examples = make(model, seed=seed, negatives=2, uniform_negatives=1)
        return read(examples.batch(np.array([0, 1, 2]), DEVICE, epoch), examples.items)

    assert some(0, 0) == some(0, 0)
    assert any(some(0, 0) != some(0, epoch) for epoch in (1, 2, 3))
    assert any(some(0, 0) != some(seed, 0) for seed in (1, 2, 3))


def test_histories_and_summaries(model: EmbSum) -> None:
    examples = make(model, lambda histories: [f"likes {'red' * (len(history) == 3)}" for history in histories])
    batch = examples.batch(np.array([3, 0]), DEVICE, 0)
    words = model.words.tokenizer
    assert [words.decode([token for token in row if token >= 0]) for row in batch.summaries.tolist()] == [
        "likes </s>", "likes red </s>"
    ]  # fmt: skip
    assert (batch.histories.starts >= 0).sum(1).tolist() == [2, 3]
    assert make(model).batch(np.array([0]), DEVICE, 0).summaries is None


def test_nothing_to_learn(model: EmbSum) -> None:
    few = impressions().take(np.array([3, 4, 5, 6]))
    with pytest.raises(DataError, match="4 training impressions with 3 clicks, and none has a history, a click and"):
        ImpressionExamples(few, shop_tokens(model), ImpressionConfig(), model.words.tokenizer, None, 0)
