"""The equal-size assignment against the exact one (Hungarian method on repeated centres)."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from tokenizer.assignment import balanced_assign, large_children
from tokenizer.kmeans import kmeans_plus_plus, squared_distances

TOLERANCE = 0.01
"""What a point may lose, as a share of the mean cost: as in the fine rounds of the k-means."""


def problem(n: int, k: int, d: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((1, n, d)) + 1.5 * rng.standard_normal((1, 5, d))[:, rng.integers(5, size=n)]
    points = torch.from_numpy(points.astype(np.float32))
    large = torch.zeros(1, k, dtype=torch.bool)
    large[0, : n % k] = True
    return squared_distances(points, kmeans_plus_plus(points, k, rng)), large


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(
    ("n", "k", "d", "seed"),
    [(200, 8, 4, 0), (301, 10, 16, 1), (500, 2, 2, 2), (400, 40, 8, 3), (600, 25, 64, 4)],
)
def test_total_is_near_the_exact_optimum(n: int, k: int, d: int, seed: int, quick: bool) -> None:
    cost, large = problem(n, k, d, seed)
    tolerance = TOLERANCE * cost.amin(dim=2).mean(dim=1)
    labels, _ = balanced_assign(cost, tolerance, large=large, quick=quick)
    sizes = n // k + large[0].long().numpy()
    assert np.array_equal(np.bincount(labels[0].numpy(), minlength=k), sizes)

    repeated = np.repeat(cost[0].numpy(), sizes, axis=1)
    rows, columns = linear_sum_assignment(repeated)
    total = float(cost[0].gather(1, labels[0][:, None]).sum())
    assert total <= 1.03 * repeated[rows, columns].sum()  # 3 %: the bar of the issue


def test_four_points_by_hand() -> None:
    # Both of the left centre's admirers lose by moving; the one at 1 loses less than the one at 0.
    points = torch.tensor([[[0.0], [0.1], [1.0], [9.0]]])
    centres = torch.tensor([[[0.0], [9.0]]])
    labels, _ = balanced_assign(squared_distances(points, centres), torch.tensor([1e-3]))
    assert labels.tolist() == [[0, 0, 1, 1]]


def test_problems_do_not_touch_each_other() -> None:
    first, large = problem(120, 7, 5, 0)
    second, _ = problem(120, 7, 5, 1)
    both = torch.cat([first, second])
    labels, _ = balanced_assign(both, torch.tensor([0.05, 0.05]), large=large.repeat(2, 1))
    alone, _ = balanced_assign(second, torch.tensor([0.05]), large=large)
    assert torch.equal(labels[1:], alone)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("n", [7, 64, 65])
def test_equal_costs_still_fill_every_centre(n: int, quick: bool) -> None:
    labels, _ = balanced_assign(torch.zeros(1, n, 5), torch.tensor([1e-6]), quick=quick)
    sizes = np.bincount(labels[0].numpy(), minlength=5)
    assert sizes.max() - sizes.min() <= 1


def test_the_most_wanted_centres_are_the_large_ones() -> None:
    assert large_children(torch.tensor([[1.0, 5.0, 5.0, 2.0]]), 2).tolist() == [[False, True, True, False]]


def test_wrong_capacities_are_refused() -> None:
    with pytest.raises(ValueError, match="must mark 1 of 3 centres"):
        balanced_assign(torch.zeros(1, 7, 3), torch.tensor([1.0]), large=torch.zeros(1, 3, dtype=torch.bool))
