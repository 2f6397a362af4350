"""The measurement of balanced codes runs, and its exact rival is exact; no figure is asserted."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

pytest.importorskip("k_means_constrained")
pytest.importorskip("faiss")
pytest.importorskip("sklearn")

from benchmarks.speed import balanced_codes
from benchmarks.speed.rivals.exact_assignment import exact_assignment


@pytest.mark.parametrize(("n", "k"), [(60, 6), (65, 7), (9, 9)])
def test_the_flow_finds_the_least_total(n: int, k: int) -> None:
    cost = np.random.default_rng(n).random((n, k))
    labels = exact_assignment(cost)
    counts = np.bincount(labels, minlength=k)
    assert counts.max() - counts.min() <= 1
    # The Hungarian method, given which centres are the larger ones.
    rows, columns = linear_sum_assignment(np.repeat(cost, counts, axis=1))
    least = np.repeat(cost, counts, axis=1)[rows, columns].sum()
    assert cost[np.arange(n), labels].sum() == pytest.approx(least, abs=n * 1e-7)


def test_the_flow_chooses_the_larger_centre() -> None:
    # Three points, two centres: either may have two. Only the second choice costs nothing.
    assert exact_assignment(np.array([[0.0, 9.0], [9.0, 0.0], [9.0, 0.0]])).tolist() == [0, 1, 1]


def test_every_line_is_measured() -> None:
    rows = balanced_codes.measure("smoke")
    assert {row.row for row in rows} == {8}
    against = [row for row in rows if row.rival is not None]
    assert len(against) == 1 + 2 * 2
    for row in against:
        smallest, largest = row.more["sizes"]
        assert largest - smallest <= 1
    smallest, largest = against[0].more["rival_sizes"]
    assert largest - smallest <= 1
    assert against[0].more["assignment_over_exact"] >= 1 - 1e-4  # float32 costs
    assert all(row.more["peak_mb"] > 0 for row in rows if row.rival is None)
