"""The share of some rows in a softmax against the same sums in the plain way."""

import pytest
import torch

from gen_rec.models.softmax_share import log_share

MEMBERS = torch.tensor([[3, 0, -1], [5, -1, -1], [1, 2, 4], [0, 6, 5]])


def plain(states: torch.Tensor, vectors: torch.Tensor, members: torch.Tensor) -> torch.Tensor:
    softmax = (states @ vectors.T).softmax(1)
    return torch.stack([row[some[some >= 0]].sum() for row, some in zip(softmax, members, strict=True)]).log()


def tensors(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    states, vectors = torch.randn(4, 5, generator=generator), torch.randn(7, 5, generator=generator)
    return states.to(dtype).requires_grad_(), vectors.to(dtype).requires_grad_()


def test_values_and_gradients_are_those_of_the_plain_sums():
    given = tensors(torch.float64)
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)  # of the rows: upstream gradients may differ
    found, expected = log_share(*given, MEMBERS), plain(*given, MEMBERS)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), given), torch.autograd.grad((expected * weights).sum(), given),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0)


def test_numerical_derivatives_agree():
    assert torch.autograd.gradcheck(lambda s, v: log_share(s, v, MEMBERS), tensors(torch.float64))


def test_large_scores_neither_overflow_nor_stop_learning():
    states, vectors = (x.detach().mul(100).requires_grad_() for x in tensors(torch.float32))
    found = log_share(states, vectors, MEMBERS)
    found.sum().backward()
    assert bool(found.isfinite().all())
    assert all(x.grad is not None and bool(x.grad.isfinite().all()) for x in (states, vectors))


def test_under_autocast_products_are_coarse_and_sums_are_not():
    given = tensors(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = log_share(*given, MEMBERS)
        gradients = torch.autograd.grad(found.sum(), given)
    assert found.dtype == torch.float32
    assert [gradient.dtype for gradient in gradients] == [torch.float32, torch.float32]
    exact = plain(*given, MEMBERS)
    torch.testing.assert_close(found, exact, atol=0.05, rtol=0)
    assert not torch.equal(found, exact)
    for one, other in zip(gradients, torch.autograd.grad(exact.sum(), given), strict=True):
        torch.testing.assert_close(one, other, atol=0.05, rtol=0)


@pytest.mark.parametrize("members", [[[0]], [[6]]])
def test_one_member_is_cross_entropy(members: list[list[int]]):
    states, vectors = tensors(torch.float64)
    found = log_share(states[:1], vectors, torch.tensor(members))
    expected = torch.nn.functional.cross_entropy(states[:1] @ vectors.T, torch.tensor(members[0]))
    torch.testing.assert_close(found[0], -expected, atol=1e-12, rtol=0)
