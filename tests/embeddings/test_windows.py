"""Windows and batches against a loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_rec.data.interactions import Sequences
from gen_rec.embeddings.windows import batches, cut_windows, padded


def sequences_of(lists: list[list[int]]) -> Sequences:
    sizes = np.array([len(x) for x in lists], dtype=np.int64)
    return Sequences(
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        items=np.array([item for x in lists for item in x], dtype=np.int32),
        user=np.arange(len(lists), dtype=np.int32),
    )


@given(st.lists(st.lists(st.integers(0, 99), max_size=30), min_size=1, max_size=8), st.integers(1, 7))
def test_every_item_is_predicted_once_from_all_the_history_it_may_see(lists: list[list[int]], most: int) -> None:
    sequences = sequences_of(lists)
    start, length, first = cut_windows(sequences, most)
    predictions = []
    for begin, size, column in zip(start, length, first, strict=True):
        assert 1 <= column < size <= 2 * most
        predictions += [
            (begin + at, tuple(sequences.items[max(begin, begin + at - most) : begin + at]))
            for at in range(column, size)
        ]
    expected = [
        (sequences.offsets[row] + at, tuple(items[max(0, at - most) : at]))
        for row, items in enumerate(lists)
        for at in range(1, len(items))
    ]
    assert sorted(predictions) == sorted(expected)


def test_batches_hold_every_window_once_within_the_size_and_differ_between_epochs() -> None:
    rng = np.random.default_rng(0)
    length = rng.integers(2, 41, 500)
    one, two = list(batches(length, 128, rng)), list(batches(length, 128, rng))
    for epoch in (one, two):
        assert sorted(np.concatenate(epoch)) == list(range(500))
        assert all(len(group) * length[group].max() <= 128 for group in epoch)
    assert [group.tolist() for group in one] != [group.tolist() for group in two]


def test_a_window_longer_than_a_batch_is_a_batch_by_itself() -> None:
    groups = list(batches(np.array([3, 50, 3]), 10, np.random.default_rng(0)))
    assert sorted(sorted(group.tolist()) for group in groups) == [[0, 2], [1]]


@pytest.mark.parametrize("rows", [[0, 1], [1]])
def test_padded(rows: list[int]) -> None:
    matrix, real = padded(np.arange(10, 20), np.array([0, 4])[rows], np.array([3, 2])[rows])
    full = {0: [10, 11, 12], 1: [14, 15, 0]}
    assert matrix.tolist() == [full[row][: matrix.shape[1]] for row in rows]
    assert real.sum(1).tolist() == np.array([3, 2])[rows].tolist()
