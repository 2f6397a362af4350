"""Between padded rows and the rows that are real: everything but attention over a history needs only the latter."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


class _Take(torch.autograd.Function):
    """Some rows, no row twice: the gradient is put back, not added up."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.n = len(x)  # type: ignore[attr-defined]
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (rows,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return put(gradient, rows, ctx.n), None  # type: ignore[attr-defined]


class _Put(torch.autograd.Function):
    """Rows at their places, zero elsewhere."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, rows: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(rows)
        return x.new_zeros(n, *x.shape[1:]).index_copy_(0, rows, x)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (rows,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient.index_select(0, rows), None, None


def take(x: Tensor, rows: Tensor) -> Tensor:
    """x: (n, ...); rows: (m,) int64, all different; returns (m, ...)."""
    return _Take.apply(x, rows)  # type: ignore[no-any-return, no-untyped-call]


def put(x: Tensor, rows: Tensor, n: int) -> Tensor:
    """The reverse of ``take``. x: (m, ...); rows: (m,) int64, all different; returns (n, ...), zero where no row is."""
    return _Put.apply(x, rows, n)  # type: ignore[no-any-return, no-untyped-call]
