"""The rows that a sequence model learns from: each next item of the training part once, after what came before it."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch

from benchmarks.accuracy.rivals.examples import NextItemSource, right_aligned
from gen_rec.data.interactions import Sequences

Make = Callable[[list[list[int]]], Sequences]
LISTS = [[1, 2, 3, 4, 5, 6, 7, 8, 9], [3, 3], [5], [], [7, 1, 2]]
MAX_HISTORY = 4


def pairs(source: NextItemSource) -> list[tuple[tuple[int, ...], int]]:
    """(history, target) of every supervised place of an epoch."""
    found = []
    for rows in source.steps(2, seed=0, epoch=0, n_processes=1):
        batch = source.batch(rows, torch.device("cpu"), 0)
        n = batch.history.shape[1]
        learnt = 0
        for history, targets in zip(batch.history.tolist(), batch.targets.tolist(), strict=True):
            for back, target in enumerate(reversed(targets)):
                if target >= 0:
                    learnt += 1
                    found.append((tuple(item for item in history[: n - back] if item >= 0), target))
        assert batch.n_targets == learnt
        assert (batch.history[:, -1] >= 0).all()  # right-aligned, and
        assert (batch.history[:, 0] >= 0).any()  # no longer than the longest of them
        real = batch.history >= 0
        assert (real[:, 1:] | ~real[:, :-1]).all()  # nothing is missing after the first item
    return found


@pytest.mark.parametrize("every", [True, False])
def test_each_target_once_after_its_history(every: bool, sequences: Make) -> None:
    source = NextItemSource.of(sequences(LISTS), MAX_HISTORY, every)
    found = pairs(source)
    wanted = [(each[:end], each[end]) for each in LISTS for end in range(1, len(each))]
    assert source.n_targets == len(found) == len(wanted)
    assert Counter(target for _, target in found) == Counter(target for _, target in wanted)
    if every:  # a window of a long history may begin later, but never with less than half of what fits
        whole = {(tuple(history[-length:]), target) for history, target in wanted for length in range(1, 5)}
        assert set(found) <= whole
        assert all(len(history) >= MAX_HISTORY // 2 or (history, target) in [(tuple(h), t) for h, t in wanted]
                   for history, target in found)  # fmt: skip
    else:
        assert Counter(found) == Counter((tuple(history[-MAX_HISTORY:]), target) for history, target in wanted)


def test_right_aligned() -> None:
    padded = np.array([[1, 2, -1], [3, -1, -1], [-1, -1, -1], [4, 5, 6]])
    moved = right_aligned(padded, np.array([2, 1, 0, 3]))
    assert moved.tolist() == [[-1, 1, 2], [-1, -1, 3], [-1, -1, -1], [4, 5, 6]]
