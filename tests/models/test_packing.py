"""Taking real rows out of padded ones and putting them back: values and gradients."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from gen_rec.models.packing import put, take


@given(chosen=st.lists(st.booleans(), min_size=1, max_size=12), seed=st.integers(0, 99))
def test_values_and_gradients_are_those_of_indexing(chosen: list[bool], seed: int):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.tensor(chosen).nonzero()[:, 0]
    x = torch.randn(len(chosen), 2, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(len(rows), 2, 3, generator=generator, dtype=torch.float64)
    mine, plain = take(x, rows), x[rows]
    assert torch.equal(mine, plain)
    assert torch.equal(torch.autograd.grad(mine, x, upstream)[0], torch.autograd.grad(plain, x, upstream)[0])

    packed = upstream.clone().requires_grad_()
    mine, plain = put(packed, rows, len(chosen)), torch.zeros_like(x).index_put((rows,), packed)
    assert torch.equal(mine, plain)
    back = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    assert torch.equal(torch.autograd.grad(mine, packed, back)[0], torch.autograd.grad(plain, packed, back)[0])
