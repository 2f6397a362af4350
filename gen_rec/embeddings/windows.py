"""Training sequences cut to a bounded length, and grouped into batches of like length."""

from collections.abc import Iterator

import numpy as np

from gen_rec.data.interactions import Sequences


def cut_windows(sequences: Sequences, max_history: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut every sequence into windows such that each item but the first is predicted exactly once.

    A window predicts at most ``max_history`` items and holds, before the first of them, the ``max_history``
    items (or all there are) that its history needs. Sequences of fewer than two items give no window.

    returns  start (w,), length (w,): where the window lies in ``sequences.items``;
             first (w,): column of the first item to predict, at least 1.
    """
    sizes = np.diff(sequences.offsets)
    counts = np.maximum(-(-(sizes - 1) // max_history), 0)  # windows of each sequence
    owner = np.repeat(np.arange(len(sizes)), counts)  # (w,)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)  # 0, 1, … within a sequence
    target = 1 + number * max_history  # first predicted item
    begin = np.maximum(target - max_history, 0)
    end = np.minimum(target + max_history, sizes[owner])
    return sequences.offsets[owner] + begin, end - begin, target - begin


def batches(length: np.ndarray, positions: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Group windows of like length, in an order that differs from epoch to epoch.

    length:    (w,)
    positions: items, padding included, that a batch may hold; a longer window is a batch by itself
    yields     indices of windows.
    """
    order = np.argsort(length + rng.random(len(length)), kind="stable")
    groups, start = [], 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and length[order[stop]] * (stop + 1 - start) <= positions:
            stop += 1
        groups.append(order[start:stop])
        start = stop
    for group in rng.permutation(len(groups)):
        yield groups[group]


def padded(items: np.ndarray, start: np.ndarray, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Windows as a matrix.

    items: (total,);  start, length: (b,)
    returns (b, longest) int64 with 0 after the last item, and (b, longest) bool, True where there is one.
    """
    column = np.arange(length.max(initial=0))
    real = column < length[:, None]
    matrix = np.zeros(real.shape, dtype=np.int64)
    matrix[real] = items[(start[:, None] + column)[real]]
    return matrix, real
