"""Training rows and the order of an epoch, against plain loops and as properties of any lengths."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen_rec.data.batches import TrainingRows, causal_rows, epoch_batches, prefix_rows, share_of
from gen_rec.data.interactions import Sequences, offsets_of

LENGTHS = st.lists(st.integers(0, 40), min_size=1, max_size=12)


def sequences(lengths: list[int]) -> Sequences:
    """Item numbers are positions in the array, so that every target can be told from every other."""
    total = sum(lengths)
    return Sequences(
        offsets_of(np.array(lengths)), np.arange(total, dtype=np.int32), np.arange(len(lengths), dtype=np.int32)
    )


def all_targets(lengths: list[int]) -> list[int]:
    """Every item but the first of each sequence."""
    starts = offsets_of(np.array(lengths))[:-1]
    return [int(start) + i for start, n in zip(starts, lengths, strict=True) for i in range(1, n)]


def supervised(rows: TrainingRows) -> list[tuple[list[int], int]]:
    """(history, target) of every target of every row, read off the padded batch."""
    batch = rows.batch(np.arange(len(rows)))
    pairs = []
    for history, length, targets in zip(*batch, strict=True):
        assert (history[length:] == -1).all()
        assert (history[:length] >= 0).all()
        if not rows.dense:
            pairs.append((history[:length].tolist(), int(targets[0])))
            continue
        assert (targets[length:] == -1).all()
        pairs += [(history[: i + 1].tolist(), int(t)) for i, t in enumerate(targets) if t >= 0]
    return pairs


@given(LENGTHS, st.integers(1, 15))
def test_causal_windows(lengths: list[int], max_history: int) -> None:
    rows = causal_rows(sequences(lengths), max_history)
    assert rows.n_targets == len(all_targets(lengths))
    if not len(rows):
        assert max(lengths) < 2
        return
    pairs = supervised(rows)
    assert sorted(target for _, target in pairs) == all_targets(lengths)  # each once
    assert rows.lengths.max() <= max_history
    starts = offsets_of(np.array(lengths))[:-1]
    owner = dict(zip(starts.tolist(), lengths, strict=True))
    for history, target in pairs:
        assert history == list(range(history[0], target))  # what came right before it, nothing later
        start = max(s for s in owner if s <= target and owner[s])
        assert history[0] >= start  # no other user's items
        # All there is, or at least half a window.
        assert history[0] == start or len(history) >= max_history / 2


@given(LENGTHS, st.integers(1, 15))
def test_prefix_rows(lengths: list[int], max_history: int) -> None:
    rows = prefix_rows(sequences(lengths), max_history)
    assert len(rows) == rows.n_targets == len(all_targets(lengths))
    if not len(rows):
        return
    starts = offsets_of(np.array(lengths))
    for history, target in supervised(rows):
        start = int(starts[np.searchsorted(starts, target, side="right") - 1])
        assert history == list(range(max(start, target - max_history), target))
    assert sorted(target for _, target in supervised(rows)) == all_targets(lengths)


def test_windows_of_a_long_sequence_by_hand() -> None:
    # Items 0..9, windows of 4 overlapping by 2. The first supervises targets 1..4 from items 0..3; the next reads
    # 2..5 and supervises 5, 6 only; then 4..7 for 7, 8; the last ends at target 9: items 5..8, target 9.
    rows = causal_rows(sequences([10]), 4)
    batch = rows.batch(np.arange(4))
    assert batch.history.tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [5, 6, 7, 8]]
    assert batch.targets.tolist() == [[1, 2, 3, 4], [-1, -1, 5, 6], [-1, -1, 7, 8], [-1, -1, -1, 9]]


def test_padding_by_hand() -> None:
    rows = causal_rows(sequences([3, 0, 1, 4]), 20)
    batch = rows.batch(np.array([1, 0]))
    assert batch.history.tolist() == [[4, 5, 6], [0, 1, -1]]
    assert batch.lengths.tolist() == [3, 2]
    assert batch.targets.tolist() == [[5, 6, 7], [1, 2, -1]]


@given(st.integers(1, 300), st.integers(1, 9), st.integers(0, 5), st.integers(0, 3), st.integers(1, 4))
def test_every_row_once_an_epoch(n: int, batch_size: int, seed: int, epoch: int, processes: int) -> None:
    batch_size *= processes  # as the trainer asks
    lengths = np.random.default_rng(n).integers(1, 30, n)
    batches = epoch_batches(lengths, batch_size, seed, epoch, processes)
    assert sorted(np.concatenate(batches)) == list(range(n))
    sizes = [len(batch) for batch in batches]
    assert sum(size != batch_size for size in sizes) <= 1
    if n >= processes:
        assert min(sizes) >= processes  # a row for each of them
    for batch in batches:
        shares = [share_of(batch, process, processes) for process in range(processes)]
        assert sorted(np.concatenate(shares)) == sorted(batch)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_the_order_depends_on_seed_and_epoch_only() -> None:
    lengths = np.random.default_rng(0).integers(1, 30, 100)
    first = epoch_batches(lengths, 8, seed=3, epoch=5)
    np.random.default_rng(1).random(10)
    again = epoch_batches(lengths, 8, seed=3, epoch=5)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    for other in (epoch_batches(lengths, 8, seed=4, epoch=5), epoch_batches(lengths, 8, seed=3, epoch=6)):
        assert np.concatenate(other).tolist() != np.concatenate(first).tolist()


def test_a_remainder_joins_the_batch_before_it() -> None:
    # 17 rows in eights: 8, 8, 1. Two processes need two rows, so the last row makes the second batch one of nine.
    lengths = np.ones(17, dtype=np.int64)
    assert sorted(len(batch) for batch in epoch_batches(lengths, 8, 0, 0)) == [1, 8, 8]
    assert sorted(len(batch) for batch in epoch_batches(lengths, 8, 0, 0, at_least=2)) == [8, 9]


@pytest.mark.parametrize("n", [64, 1000])
def test_rows_of_like_length_share_a_batch(n: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 51, n)
    batches = epoch_batches(lengths, 8, 0, 0)
    spread = np.mean([np.ptp(lengths[batch]) for batch in batches])
    shuffled = np.random.default_rng(0).permutation(n)[: n // 8 * 8].reshape(-1, 8)
    chance = np.mean(np.ptp(lengths[shuffled], axis=1))
    assert spread < chance / 3
    # The batches themselves come in no order of length.
    means = [lengths[batch].mean() for batch in batches]
    assert means != sorted(means)
