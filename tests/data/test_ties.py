"""Orders of what was taken at one moment."""

import numpy as np
import polars as pl
import torch

from gen_rec.data.batches import causal_rows, prefix_rows
from gen_rec.data.interactions import Dataset
from gen_rec.data.ties import Ties
from gen_rec.training.eager_source import EagerSource

ALL = torch.device("cpu")


def dataset() -> Dataset:
    """Two users; the first takes 10 to 13 on one day and 14 later, the second 20 and 21 on that later day.

    The last two interactions of each are validation and test.
    """
    items = np.array([10, 11, 12, 13, 14, 1, 2, 20, 21, 3, 4], dtype=np.int32)
    times = np.array([5, 5, 5, 5, 6, 6, 6, 6, 6, 6, 7], dtype=np.int64)
    split = np.array([0, 0, 0, 0, 0, 1, 2, 0, 0, 1, 2], dtype=np.uint8)
    names = [str(i) for i in range(22)]
    table = pl.DataFrame({"item_id": names, "title": names, "text": names})
    users = np.array(["a", "b"], dtype=object)
    return Dataset(table, users, np.array([0, 7, 11]), items, times, split)


def source(max_history: int = 50, dense: bool = True) -> EagerSource:
    make = causal_rows if dense else prefix_rows
    return EagerSource(make(dataset().train_sequences(), max_history), Ties.of(dataset(), seed=3))


def test_the_moments_of_a_user_are_kept_apart_from_those_of_the_next():
    assert Ties.of(dataset(), 0).moment.tolist() == [0, 0, 0, 0, 1, 2, 2]


def test_every_order_within_a_moment_is_drawn_and_nothing_leaves_its_moment():
    made, seen = source(), set()
    for epoch in range(400):
        items = made.rows_of(epoch).sequences.items.tolist()
        assert sorted(items[:4]) == [10, 11, 12, 13]
        assert items[4] == 14
        assert sorted(items[5:]) == [20, 21]
        seen.add((tuple(items[:4]), tuple(items[5:])))
    assert len(seen) == 48  # 4! x 2!; each is missed by 400 draws with a chance of 2e-4


def test_an_epoch_is_drawn_alike_whenever_it_is_asked_for():
    made = source()
    first = made.batch(np.array([0, 1]), ALL, 2)
    made.batch(np.array([0, 1]), ALL, 5)
    again = made.batch(np.array([0, 1]), ALL, 2)
    resumed = source().batch(np.array([0, 1]), ALL, 2)
    for other in (again, resumed):
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_histories_and_targets_come_from_one_order():
    """In windows of two items and in prefixes alike, an epoch's targets are its sequence without its first item."""
    for dense in (True, False):
        made = source(max_history=2, dense=dense)
        for epoch in range(5):
            rows = made.rows_of(epoch)
            whole = rows.sequences.items
            batch = made.batch(np.arange(len(rows)), ALL, epoch)
            targets = batch.targets[batch.targets >= 0].tolist()
            assert sorted(targets) == sorted([*whole[1:5].tolist(), int(whole[6])])
            for history, target in zip(batch.history.tolist(), batch.targets[:, -1].tolist(), strict=True):
                kept = [item for item in history if item >= 0]
                if not dense:
                    place = whole.tolist().index(target)
                    assert kept == whole.tolist()[place - len(kept) : place]


def test_without_ties_nothing_moves():
    made = EagerSource(causal_rows(dataset().train_sequences(), 50))
    assert made.rows_of(7) is made.rows
