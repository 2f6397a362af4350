"""Dropout by random bytes: its mean, its mask, its seed."""

import math

import pytest
import torch

from gen_rec.models.dropout import Dropout

N = 200_000


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_share_and_expected_value(rate: float):
    torch.manual_seed(0)
    out = Dropout(rate)(torch.ones(N, dtype=torch.float64))
    real_rate = round(rate * 256) / 256
    assert set(out.unique().tolist()) == {0.0, 1 / (1 - real_rate)}  # exact: 256 / kept bytes
    spread = math.sqrt(real_rate / (1 - real_rate) / N)
    assert abs(out.mean().item() - 1) < 5 * spread  # five standard errors


def test_neighbours_fall_independently():
    """Eight elements share a 64-bit draw; each byte of it must be a number of its own."""
    torch.manual_seed(1)
    dropped = (Dropout(0.5)(torch.ones(N)) == 0).double().view(-1, 8)
    correlation = torch.corrcoef(dropped.T) - torch.eye(8)
    assert float(correlation.abs().max()) < 5 / math.sqrt(N / 8)
    assert float((dropped.mean(0) - 0.5).abs().max()) < 5 * 0.5 / math.sqrt(N / 8)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (2, 3, 9), (0, 4), ()])
def test_gradient_passes_the_forward_mask(shape: tuple[int, ...]):
    torch.manual_seed(2)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    out = Dropout(0.4)(x)
    assert out.shape == x.shape
    upstream = torch.randn(shape, dtype=torch.float64)
    out.backward(upstream)
    torch.testing.assert_close(x.grad * x.detach(), out.detach() * upstream, atol=1e-14, rtol=1e-14)
    assert torch.equal(x.grad == 0, out == 0)


def test_same_seed_same_mask_and_the_state_of_the_generator_moves_on():
    dropout, x = Dropout(0.5), torch.ones(3, 100).t()  # not contiguous
    torch.manual_seed(5)
    first, second = dropout(x), dropout(x)
    torch.manual_seed(5)
    assert torch.equal(dropout(x), first)
    assert torch.equal(dropout(x), second)
    assert not torch.equal(first, second)


def test_identity_when_not_training_or_rate_zero():
    x = torch.randn(4, 4)
    before = torch.get_rng_state()
    assert Dropout(0.9).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), before)  # and nothing is drawn


@pytest.mark.parametrize("training", [True, False])
def test_what_is_done_in_one_pass_is_what_it_stands_for(training: bool):
    """``add`` and ``gelu`` draw the mask that plain dropout would, and have its gradients."""
    dropout = Dropout(0.4).train(training)
    x, branch = (torch.randn(5, 7, dtype=torch.float64, requires_grad=True) for _ in range(2))
    upstream = torch.randn(5, 7, dtype=torch.float64)
    pairs = [
        (lambda: dropout.add(x, branch), lambda: x + dropout(branch)),
        (lambda: dropout.gelu(x) + branch, lambda: dropout(torch.nn.functional.gelu(x)) + branch),
    ]
    for ours, plain in pairs:
        results = []
        for work in (ours, plain):
            torch.manual_seed(7)
            out = work()
            results.append((out.detach(), *torch.autograd.grad(out, (x, branch), upstream)))
        for mine, expected in zip(*results, strict=True):
            torch.testing.assert_close(mine, expected, atol=1e-14, rtol=1e-14)
