"""The chunked cross-entropy against torch's own, one target at a time, with its gradients."""

import pytest
import torch
from torch.nn import functional

from benchmarks.accuracy.rivals import loss as module
from benchmarks.accuracy.rivals.loss import linear_cross_entropy

TOLERANCE = 1e-4
"""Float32 sums of 23 losses of size ten."""


@pytest.mark.parametrize("cells", [1, 100, 1 << 19])
def test_loss_and_gradients(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_CELLS", cells)
    states, items = (4 * torch.randn(23, 8)).requires_grad_(), torch.randn(17, 8, requires_grad=True)
    targets = torch.randint(17, (23,))
    expected = torch.zeros(())
    for state, target in zip(states, targets, strict=True):
        expected = expected + functional.cross_entropy(state @ items.T, target)
    wanted = torch.autograd.grad(expected / 5, (states, items))
    found = linear_cross_entropy(states, items, targets)
    given = torch.autograd.grad(found / 5, (states, items))
    assert found.item() == pytest.approx(expected.item(), abs=TOLERANCE)
    for a, b in zip(given, wanted, strict=True):
        assert torch.allclose(a, b, atol=TOLERANCE)


def test_large_logits_do_not_overflow() -> None:
    states = torch.tensor([[1000.0, 0.0]], requires_grad=True)
    items = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert linear_cross_entropy(states, items, torch.tensor([0])).item() == 0.0
    found = linear_cross_entropy(states, items, torch.tensor([1]))
    found.backward()
    assert found.item() == 2000.0
    assert states.grad is not None
    assert states.grad.tolist() == [[2.0, 0.0]]


def test_nothing_to_learn() -> None:
    states = torch.zeros(0, 4, requires_grad=True)
    found = linear_cross_entropy(states, torch.zeros(3, 4), torch.zeros(0, dtype=torch.int64))
    found.backward()
    assert found.item() == 0.0
