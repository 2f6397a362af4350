"""A softmax over a whole table of vectors, of which only the share of a few rows is wanted.

The scores of all rows are the largest thing that a training step makes; here they are written once and turned into
probabilities in place, where autograd would keep several copies.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx


class _LogShare(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, states: Tensor, vectors: Tensor, members: Tensor) -> Tensor:
        ctx.types = states.dtype, vectors.dtype  # type: ignore[attr-defined]
        device = states.device.type
        if torch.is_autocast_enabled(device):
            states, vectors = (x.to(torch.get_autocast_dtype(device)) for x in (states, vectors))
        scores = (states @ vectors.T).to(ctx.types[0])  # type: ignore[attr-defined]
        at = members.clamp(min=0)
        some = scores.gather(1, at).masked_fill_(members < 0, -torch.inf)
        part, total = some.logsumexp(1, keepdim=True), scores.logsumexp(1, keepdim=True)
        ctx.save_for_backward(states, vectors, at, scores.sub_(total).exp_(), some.sub_(part).exp_())
        return (part - total)[:, 0]

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        states, vectors, at, shares, within = ctx.saved_tensors  # type: ignore[attr-defined]
        of_states, of_vectors = ctx.types  # type: ignore[attr-defined]
        slope = (shares * -gradient[:, None]).scatter_add_(1, at, within * gradient[:, None]).to(states.dtype)
        return (slope @ vectors).to(of_states), (states.T @ slope).T.to(of_vectors), None


def log_share(states: Tensor, vectors: Tensor, members: Tensor) -> Tensor:
    """The logarithm of the probability that a softmax over all rows gives to some of them together.

    states:  (n, d)
    vectors: (rows, d); the score of a row is its product with the state
    members: (n, m) int64 rows, all different, -1 where there is none; at least one for each state
    returns  (n,); the products are in autocast's type where that is on, all else in that of ``states``
    """
    return _LogShare.apply(states, vectors, members)  # type: ignore[no-any-return, no-untyped-call]
