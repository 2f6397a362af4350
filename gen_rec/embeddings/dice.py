"""Dice, the activation of DIN: a PReLU whose bend follows the data (arXiv 1706.06978, section 5.3)."""

from typing import Any

import torch
from torch import Tensor, nn


class Dice(nn.Module):
    """f(s) = p(s) · s + (1 − p(s)) · α · s,  p(s) = sigmoid((s − E[s]) / sqrt(Var[s] + ε)).

    E and Var are those of the batch in training, over real positions only, and running averages in
    evaluation; α is learnt, one a channel. With E = 0 and Var = 1 the gate is a plain sigmoid; as Var goes to
    0 the function goes to PReLU with its bend at E.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, dim: int = -1, momentum: float = 0.1, eps: float = 1e-8) -> None:
        """channels lie along dimension ``dim`` of the inputs; ``momentum`` weighs the newest batch."""
        super().__init__()
        self.dim, self.momentum, self.eps = dim, momentum, eps
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, values: Tensor, real: Tensor | None = None) -> Tensor:
        """Activate.

        values:  (..., channels, ...) with the channels along ``dim``
        real:    of as many dimensions as ``values``, 1 along ``dim``, True where a number is real; None where
                 all are. What is not real takes no part in the statistics.
        returns  as ``values``; the numbers at positions that are not real mean nothing.
        """
        shape = [1] * values.ndim
        shape[self.dim] = -1
        alpha = self.alpha.view(shape)
        if self.training:
            active, mean, var = _BatchDice.apply(values, real, alpha, self.dim % values.ndim, self.eps)
            with torch.no_grad():
                self.running_mean.lerp_(mean.flatten(), self.momentum)
                self.running_var.lerp_(var.flatten(), self.momentum)
            return active
        scale = (self.running_var + self.eps).rsqrt().view(shape)
        gate = torch.sigmoid(torch.addcmul(-self.running_mean.view(shape) * scale, values, scale))
        return values * torch.addcmul(alpha, gate, 1 - alpha)


class _BatchDice(torch.autograd.Function):
    """Dice with the batch's statistics, whose gradient is followed too.

    Written by hand because the activation unit's tensors are the widest of the model: this keeps two of them
    for the backward pass and makes few temporaries, which is half of a training step's time.
    """

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, real: Tensor | None, alpha: Tensor, dim: int, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        dims = [other for other in range(values.ndim) if other != dim]
        if real is None:
            weight, count = None, values.numel() / values.shape[dim]
            var, mean = torch.var_mean(values, dims, correction=0, keepdim=True)
            gate = values - mean
        else:
            weight = real.to(values.dtype)
            count = max(1.0, weight.expand([1 if i == dim else n for i, n in enumerate(values.shape)]).sum().item())
            mean = (values * weight).sum(dims, keepdim=True) / count
            gate = values - mean
            var = (gate.square() * weight).sum(dims, keepdim=True) / count
        scale = (var + eps).rsqrt()
        gate = gate.mul_(scale).sigmoid_()
        ctx.save_for_backward(values, weight, alpha, gate, mean, scale)
        ctx.dims, ctx.count = dims, count
        ctx.mark_non_differentiable(mean, var)
        active = (gate * (1 - alpha)).add_(alpha).mul_(values)
        return active, mean, var

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor, None, Tensor, None, None]:
        values, weight, alpha, gate, mean, scale = ctx.saved_tensors
        through = grad * values
        of_alpha = through.sum(ctx.dims, keepdim=True)
        inner = through.mul_(gate)
        of_alpha = of_alpha - inner.sum(ctx.dims, keepdim=True)  # Σ g s (1 − p)
        inner = torch.addcmul(inner, inner, gate, value=-1).mul_((1 - alpha) * scale)  # dL/ds by way of the gate
        centred = (values - mean).mul_(scale)
        constant = inner.sum(ctx.dims, keepdim=True) / -ctx.count
        slope = (inner * centred).sum(ctx.dims, keepdim=True) / -ctx.count
        by_statistics = centred.mul_(slope).add_(constant)
        if weight is not None:
            by_statistics.mul_(weight)
        direct = (gate * (1 - alpha)).add_(alpha).mul_(grad)
        return direct.add_(inner).add_(by_statistics), None, of_alpha, None, None
