"""How far two partitions of the same items agree."""

import numpy as np


def mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """Mutual information of two labellings in nats.

    first, second: (n,) integers
    """
    n = len(first)
    a, b, both = contingency(first, second)
    pairs = both.data
    return float((pairs / n * np.log(pairs * n / (a[both.rows].astype(float) * b[both.columns]))).sum())


class _Cells:
    """Cells of a contingency table that are not empty."""

    def __init__(self, rows: np.ndarray, columns: np.ndarray, data: np.ndarray) -> None:
        self.rows, self.columns, self.data = rows, columns, data


def contingency(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, _Cells]:
    """Sizes of the groups of each labelling, and the items in each pair of groups that share any."""
    _, x, a = np.unique(first, return_inverse=True, return_counts=True)
    _, y, b = np.unique(second, return_inverse=True, return_counts=True)
    cell, count = np.unique(x.astype(np.int64) * len(b) + y, return_counts=True)
    return a, b, _Cells(cell // len(b), cell % len(b), count)


def entropy(sizes: np.ndarray) -> float:
    """Entropy in nats of a group drawn in proportion to its size; empty groups count nothing."""
    share = sizes[sizes > 0] / sizes.sum()
    return float(-(share * np.log(share)).sum())


def adjusted_mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """Mutual information less what chance gives, over the most there could be (Vinh, Epps and Bailey 2010).

    0 for unrelated labellings, 1 for equal ones; normalised by the mean of both entropies.

    first, second: (n,) integers, n at least 1. Two labellings with one group each, or n groups each, agree:
                   1.
    """
    if len(first) != len(second) or len(first) == 0:
        raise ValueError(f"the labellings must be equally long, not empty; got {len(first)} and {len(second)}")
    a, b, _ = contingency(first, second)
    n = len(first)
    if (len(a) == len(b) == 1) or (len(a) == len(b) == n):
        return 1.0
    chance = _expected_information(a, b)
    most = (entropy(a) + entropy(b)) / 2
    if abs(most - chance) < 1e-15:
        return 0.0
    return float((mutual_information(first, second) - chance) / (most - chance))


def _expected_information(a: np.ndarray, b: np.ndarray) -> float:
    """Mean mutual information of labellings with these group sizes, drawn at random (hypergeometric)."""
    n = int(a.sum())
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    total = 0.0
    sizes_a, times_a = np.unique(a, return_counts=True)  # equal sizes give equal terms
    sizes_b, times_b = np.unique(b, return_counts=True)
    for size_a, many_a in zip(sizes_a, times_a, strict=True):
        for size_b, many_b in zip(sizes_b, times_b, strict=True):
            shared = np.arange(max(1, size_a + size_b - n), min(size_a, size_b) + 1)
            information = shared / n * np.log(n * shared / (float(size_a) * float(size_b)))
            log_chance = (
                log_factorial[[size_a, size_b, n - size_a, n - size_b]].sum()
                - log_factorial[n]
                - log_factorial[shared]
                - log_factorial[size_a - shared]
                - log_factorial[size_b - shared]
                - log_factorial[n - size_a - size_b + shared]
            )
            total += many_a * many_b * float((information * np.exp(log_chance)).sum())
    return total
