"""Poly-attention and the score against loops in float64, written from the article's formulas."""

import math

import pytest
import torch
from tiny_models import stir
from torch import Tensor

from gen_rec.embsum.poly import PairScore, PolyAttention

TOLERANCE = 1e-12
"""Float64 sums of a few dozen numbers of size one, taken in another order."""


def softmax(values: list[float]) -> list[float]:
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    return [power / sum(powers) for power in powers]


def dot(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def slow_attention(
    states: list[list[float]], codes: list[list[float]], project: list[list[float]]
) -> list[list[float]]:
    """alpha_a = softmax[c_a tanh(Z W)^T] Z for every code; states are the real ones of one row."""
    columns = [list(column) for column in zip(*project, strict=True)]
    keys = [[math.tanh(dot(state, column)) for column in columns] for state in states]
    summary = []
    for code in codes:
        weights = softmax([dot(code, key) for key in keys])
        summary.append(
            [sum(w * state[j] for w, state in zip(weights, states, strict=True)) for j in range(len(states[0]))]
        )
    return summary


def slow_score(user: list[list[float]], item: list[list[float]], weight: list[list[float]]) -> float:
    """K = flatten(A B^T); W = softmax(flatten(A gelu(B W_s)^T)); s = W . K."""
    columns = [list(column) for column in zip(*weight, strict=True)]
    products, gates = [], []
    for a in user:
        for b in item:
            mixed = [dot(b, column) for column in columns]
            gelu = [x * 0.5 * (1 + math.erf(x / math.sqrt(2))) for x in mixed]
            products.append(dot(a, b))
            gates.append(dot(a, gelu))
    return dot(softmax(gates), products)


def made(codes: int = 3) -> PolyAttention:
    module = PolyAttention(6, codes, 4).double()
    stir(module, 1, std=1.0)
    return module


def ragged(lengths: list[int], width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    states = torch.randn(len(lengths), width, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return states, torch.arange(width) < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("codes", [1, 3])
def test_attention_is_the_formula(codes: int) -> None:
    module = made(codes)
    lengths = [5, 1, 3]
    states, mask = ragged(lengths, 5)
    found = module(states, mask)
    assert found.shape == (3, codes, 6)
    for row, length in enumerate(lengths):
        expected = slow_attention(states[row, :length].tolist(), module.codes.tolist(), module.project.tolist())
        torch.testing.assert_close(found[row], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=TOLERANCE)


def test_real_vectors_may_lie_anywhere_and_the_others_say_nothing() -> None:
    module = made()
    states, _ = ragged([5], 5)
    mask = torch.tensor([[True, False, True, False, True]])
    expected = slow_attention(states[0, mask[0]].tolist(), module.codes.tolist(), module.project.tolist())
    for other in (0.0, 1e3, -1e30):
        changed = torch.where(mask[..., None], states, torch.tensor(other, dtype=torch.float64))
        torch.testing.assert_close(
            module(changed, mask)[0], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=TOLERANCE
        )


def test_a_row_without_real_vectors_is_zero_and_has_finite_gradients() -> None:
    module = made()
    states, mask = ragged([4, 0], 4)
    states.requires_grad_(True)
    found = module(states, mask)
    assert (found[1] == 0).all()
    assert found[0].abs().sum() > 0
    found.square().sum().backward()
    for gradient in (states.grad, module.codes.grad, module.project.grad):
        assert gradient is not None
        assert gradient.isfinite().all()
    assert states.grad is not None
    assert (states.grad[1] == 0).all()


def test_nothing_but_empty_rows() -> None:
    module = made()
    states, mask = ragged([0, 0], 1)
    found = module(states, mask)
    assert (found == 0).all()
    found.sum().backward()
    assert module.codes.grad is not None
    assert (module.codes.grad == 0).all()


def test_fresh_queries_give_about_the_mean() -> None:
    module = PolyAttention(6, 3, 4).double()
    states, mask = ragged([5, 2], 5)
    mean = torch.stack([states[0].mean(0), states[1, :2].mean(0)])
    # a query of 4 numbers of size .05 moves a weight by about .1 of itself
    torch.testing.assert_close(module(states, mask), mean[:, None].expand(-1, 3, -1), rtol=0, atol=0.3)


def stirred_score() -> PairScore:
    score = PairScore(6, scale=2.5).double()
    stir(score, 2, std=0.7)
    return score


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 4), (3, 1), (3, 4)])
def test_both_ways_to_score_are_the_formula(m: int, n: int) -> None:
    score = stirred_score()
    generator = torch.Generator().manual_seed(3)
    users = torch.randn(3, m, 6, dtype=torch.float64, generator=generator)
    items = torch.randn(5, n, 6, dtype=torch.float64, generator=generator)
    scale = math.exp(score.log_scale.item())
    expected = torch.tensor(
        [[scale * slow_score(u, i, score.weight.tolist()) for i in items.tolist()] for u in users.tolist()],
        dtype=torch.float64,
    )
    torch.testing.assert_close(score.all_pairs(users, items), expected, rtol=0, atol=10 * TOLERANCE)
    own = torch.tensor([[0, 1, 4], [2, 2, 2], [4, 3, 0]])  # every user's own candidates
    torch.testing.assert_close(score(users, items[own]), expected.gather(1, own), rtol=0, atol=10 * TOLERANCE)


def test_a_fresh_score_is_the_mean_of_all_products() -> None:
    score = PairScore(6, scale=2.5).double()
    users, items = torch.randn(2, 3, 6, dtype=torch.float64), torch.randn(4, 2, 6, dtype=torch.float64)
    mean = users.mean(1) @ items.mean(1).T
    torch.testing.assert_close(
        score.all_pairs(users, items), 2.5 * mean, rtol=0, atol=1e-6
    )  # the scale is made in float32


def test_a_zero_side_scores_zero_with_finite_gradients() -> None:
    score = stirred_score()
    users = torch.zeros(1, 3, 6, dtype=torch.float64, requires_grad=True)
    items = torch.randn(2, 4, 6, dtype=torch.float64, requires_grad=True)
    found = score.all_pairs(users, items)
    assert (found == 0).all()
    found.sum().backward()
    for gradient in (users.grad, items.grad, score.weight.grad):
        assert gradient is not None
        assert gradient.isfinite().all()
