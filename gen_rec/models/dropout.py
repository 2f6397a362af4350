"""Dropout that does not dominate a step on a CPU: cheap random numbers, and no pass over memory that can be spared."""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx


def byte_mask(like: Tensor, threshold: int) -> Tensor:
    """0 with probability ``threshold`` / 256, otherwise what keeps the expected value: 256 / (256 - threshold).

    One random byte an element, eight of them from each 64-bit draw of torch's own generator.
    """
    draws = torch.empty((like.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
    draws = draws.view(torch.uint8)[: like.numel()].view(like.shape)
    mask = torch.empty(like.shape, dtype=like.dtype)  # a comparison straight into floats, not through bool: 8 x faster
    return torch.ge(draws, threshold, out=mask).mul_(256.0 / (256 - threshold))


class _Drop(torch.autograd.Function):
    """x * mask"""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, threshold: int) -> Tensor:
        mask = byte_mask(x, threshold)
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (mask,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * mask, None


class _DropAdd(torch.autograd.Function):
    """x + branch * mask, in one pass."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, branch: Tensor, threshold: int) -> Tensor:
        mask = byte_mask(branch, threshold)
        ctx.save_for_backward(mask)
        return torch.addcmul(x, branch, mask)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        (mask,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient, gradient * mask, None


class _DropGelu(torch.autograd.Function):
    """gelu(x) * mask, the product in place."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, threshold: int) -> Tensor:
        mask = byte_mask(x, threshold)
        ctx.save_for_backward(x, mask)
        return nn.functional.gelu(x).mul_(mask)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        x, mask = ctx.saved_tensors  # type: ignore[attr-defined]
        passed = gradient * mask
        return torch.ops.aten.gelu_backward.grad_input(passed, x, grad_input=passed), None


class Dropout(nn.Module):
    """``nn.Dropout``, with the rate rounded to 1/256 on a CPU, alone or as part of what it usually stands in.

    ``nn.Dropout`` draws one number an element on one core, which took a third of a training step; here one
    64-bit draw serves eight elements. The numbers come from torch's own generator, so seeding and saving
    its state work as ever. On other devices this is ``nn.functional.dropout``.

    x: any shape; returns the same shape. The expected value of every element is unchanged.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    @property
    def _threshold(self) -> int:
        return min(255, round(self.rate * 256))

    def _by_bytes(self, x: Tensor) -> bool:
        return self.training and self.rate > 0.0 and x.device.type == "cpu"

    def forward(self, x: Tensor) -> Tensor:
        if self._by_bytes(x):
            return _Drop.apply(x, self._threshold)  # type: ignore[no-any-return, no-untyped-call]
        return nn.functional.dropout(x, self.rate, self.training) if self.training and self.rate else x

    def add(self, x: Tensor, branch: Tensor) -> Tensor:
        """``x + dropout(branch)``: the end of a residual branch."""
        if self._by_bytes(x) and x.dtype == branch.dtype:
            return _DropAdd.apply(x, branch, self._threshold)  # type: ignore[no-any-return, no-untyped-call]
        return x + self(branch)

    def gelu(self, x: Tensor) -> Tensor:
        """``dropout(gelu(x))``: the inside of a feed-forward net."""
        if self._by_bytes(x):
            return _DropGelu.apply(x, self._threshold)  # type: ignore[no-any-return, no-untyped-call]
        return self(nn.functional.gelu(x))  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        return f"rate={self.rate}"
