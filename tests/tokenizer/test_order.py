"""Sibling order: short paths, against chance and against the shortest of all."""

from itertools import permutations

import numpy as np
import pytest
import torch

from tokenizer.order import path_length, sibling_ranks


def centres(nodes: int, k: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((nodes, k, d)).astype(np.float32))


@pytest.mark.parametrize("order", ["chain", "principal", "random"])
@pytest.mark.parametrize("k", [1, 2, 3, 9])
def test_every_child_gets_a_code_of_its_own(order: str, k: int) -> None:
    ranks = sibling_ranks(centres(6, k, 4), order, np.random.default_rng(0))
    assert torch.equal(ranks.sort(dim=1).values, torch.arange(k).expand(6, k))


def test_points_on_a_line_are_numbered_along_it() -> None:
    line = torch.tensor([[[3.0], [-1.0], [7.0], [0.0]], [[1.0], [2.0], [3.0], [0.5]]])
    for order in ("chain", "principal"):
        assert sibling_ranks(line, order, np.random.default_rng(0)).tolist() == [[2, 0, 3, 1], [1, 2, 3, 0]]


@pytest.mark.parametrize("quick", [False, True])
def test_chain_is_near_the_shortest_path(quick: bool) -> None:
    points = centres(5, 7, 3)
    found = path_length(points, sibling_ranks(points, "chain", np.random.default_rng(0), quick))
    every = torch.tensor(list(permutations(range(7))))
    for node in range(5):
        repeated = points[node].expand(len(every), 7, 3)
        shortest = path_length(repeated, every).min()
        assert found[node] <= 1.1 * shortest  # 2-opt stops at a local optimum


def test_order_has_a_meaning() -> None:
    # Mean distance of neighbouring codes: chain < principal < chance, by a margin.
    points = centres(4, 60, 3)
    length = {
        order: float(path_length(points, sibling_ranks(points, order, np.random.default_rng(0))).mean())
        for order in ("chain", "principal", "random")
    }
    assert length["chain"] < 0.5 * length["random"]
    assert length["chain"] < length["principal"] < 0.9 * length["random"]


def test_sweeps_make_chains_as_short_as_single_reversals() -> None:
    points = centres(3, 80, 4)
    slow, quick = (
        path_length(points, sibling_ranks(points, "chain", np.random.default_rng(0), quick)) for quick in (False, True)
    )
    assert bool((quick <= 1.05 * slow).all())  # both stop at local optima, though not at the same


@pytest.mark.parametrize("quick", [False, True])
def test_equal_points_are_fine(quick: bool) -> None:
    ranks = sibling_ranks(torch.ones(2, 5, 3), "chain", np.random.default_rng(0), quick)
    assert torch.equal(ranks.sort(dim=1).values, torch.arange(5).expand(2, 5))
