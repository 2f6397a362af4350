"""Training rows and the order they are learnt in: every target once an epoch, batches of like length.

The order of an epoch depends on the seed and the epoch's number only. Any process, and a run that resumes in the
middle of an epoch, can compute it, and a step's rows do not depend on how many processes share them.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gen_rec.data.interactions import Sequences, offsets_of, ranges

Int64Array = NDArray[np.int64]

POOL_BATCHES = 16
"""Batches that are cut together from a pool of shuffled rows, sorted by length inside the pool."""


class PaddedBatch(NamedTuple):
    """Left-aligned histories and targets, -1 where there is nothing."""

    history: Int64Array  # (rows, items), oldest first
    lengths: Int64Array  # (rows,)
    targets: Int64Array  # (rows, items) or (rows, 1)


@dataclass(frozen=True)
class TrainingRows:
    """Stretches of the training sequences, each with the targets it supervises.

    sequences:  what the rows point into
    start, end: (n,) int64; the history of row i is ``items[start[i]:end[i]]``, and ``items[end[i]]`` is its last target
    first:      (n,) int64; position of the first target: the row supervises ``items[first[i]:end[i] + 1]``
    dense:      whether each position of the history has a target of its own, or only the end
    """

    sequences: Sequences
    start: Int64Array
    end: Int64Array
    first: Int64Array
    dense: bool

    def __len__(self) -> int:
        return len(self.start)

    @property
    def lengths(self) -> Int64Array:
        """Items in the history of every row, (n,)."""
        return self.end - self.start

    @property
    def n_targets(self) -> int:
        """Targets of one epoch."""
        return int((self.end - self.first + 1).sum())

    def batch(self, rows: Int64Array) -> PaddedBatch:
        """Pad some rows to the longest of them."""
        lengths = self.lengths[rows]
        column = np.arange(int(lengths.max()))
        real = column < lengths[:, None]  # (rows, items)
        flat = ranges(self.start[rows], lengths)
        history = np.full(real.shape, -1, dtype=np.int64)
        history[real] = self.sequences.items[flat]
        if not self.dense:
            return PaddedBatch(history, lengths, self.sequences.items[self.end[rows]][:, None].astype(np.int64))
        targets = np.full(real.shape, -1, dtype=np.int64)
        following = flat + 1
        supervised = following >= np.repeat(self.first[rows], lengths)
        targets[real] = np.where(supervised, self.sequences.items[following], -1)
        return PaddedBatch(history, lengths, targets)


def causal_rows(sequences: Sequences, max_history: int) -> TrainingRows:
    """Rows for a causal encoder: one pass supervises every position.

    A sequence of up to ``max_history + 1`` items is one row. A longer one is cut into windows that overlap by half,
    so that each target is supervised once, with at least half a window of history before it.
    """
    lengths = sequences.lengths
    users = np.flatnonzero(lengths >= 2)
    last = lengths[users] - 1  # position of each user's last target
    stride = max(1, max_history // 2)
    windows = 1 + np.maximum(0, -(-(last - max_history) // stride))  # (users,)
    owner = np.repeat(np.arange(len(users)), windows)
    nth = np.arange(len(owner)) - np.repeat(offsets_of(windows)[:-1], windows)
    end = np.minimum(last[owner], max_history + nth * stride)
    start = np.maximum(0, end - max_history)
    first = np.where(nth == 0, 1, max_history + (nth - 1) * stride + 1)
    base = sequences.offsets[users][owner]
    return TrainingRows(sequences, base + start, base + end, base + first, dense=True)


def prefix_rows(sequences: Sequences, max_history: int) -> TrainingRows:
    """Rows for a bidirectional encoder: one for every target, with what came before it."""
    counts = np.maximum(0, sequences.lengths - 1)
    base = np.repeat(sequences.offsets[:-1], counts)
    end = ranges(sequences.offsets[:-1] + 1, counts)  # every position but the first of each sequence
    return TrainingRows(sequences, np.maximum(base, end - max_history), end, end, dense=False)


def epoch_batches(lengths: Int64Array, batch_size: int, seed: int, epoch: int, at_least: int = 1) -> list[Int64Array]:
    """The batches of an epoch: shuffled rows, sorted by length within pools, batches shuffled again.

    lengths:  (n,) of every row
    at_least: a remainder of fewer rows than this joins the batch before it, so that each of that many processes
              has a row
    returns   arrays of row numbers; every row occurs once, every batch but one has ``batch_size`` rows.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    pool = batch_size * POOL_BATCHES
    batches = []
    for start in range(0, len(order), pool):
        rows = order[start : start + pool]
        rows = rows[np.argsort(lengths[rows], kind="stable")]
        batches += [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    if len(batches) > 1 and len(batches[-1]) < at_least:
        rest = batches.pop()
        batches[-1] = np.concatenate([batches[-1], rest])
    return [batches[i] for i in generator.permutation(len(batches))]


def share_of(rows: Int64Array, process: int, n_processes: int) -> Int64Array:
    """The part of a step's rows that one process takes; the parts are disjoint and make up the whole."""
    return rows[process::n_processes]
