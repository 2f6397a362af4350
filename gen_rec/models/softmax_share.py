"""A softmax over a whole table of vectors, of which only the share of a few rows is wanted.

The scores of all rows are the largest thing that a training step makes. They are written once, in the type of the
products, and turned in place into what the backward pass needs, a few states at a time, so that a processor does it in
its cache. The gradients are then two products and no pass over the scores.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

IN_CACHE = 2**18
"""Scores that a processor works on at a time; other devices take all at once."""


class _LogShare(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, states: Tensor, vectors: Tensor, members: Tensor, moved: Tensor | None, by: Tensor | None
    ) -> Tensor:
        ctx.types = states.dtype, vectors.dtype  # type: ignore[attr-defined]
        dtype, device = states.dtype, states.device.type
        if torch.is_autocast_enabled(device):
            states, vectors = (x.to(torch.get_autocast_dtype(device)) for x in (states, vectors))
        scores = states @ vectors.T  # (n, rows)
        if moved is not None and by is not None:
            moved = moved.clamp(min=0)
            cells = moved + len(vectors) * torch.arange(len(states), device=moved.device)[:, None]
            scores.view(-1).index_add_(0, cells.flatten(), by.flatten().to(scores.dtype))  # scatter_add_ copies all
        at = members.clamp(min=0)
        some = scores.gather(1, at).to(dtype).masked_fill_(members < 0, -torch.inf)
        part = some.logsumexp(1, keepdim=True)
        within = some.sub_(part).exp_()  # of each member among them all
        step = max(1, IN_CACHE // len(vectors)) if device == "cpu" else max(1, len(states))
        totals = [
            _slopes_in_place(*few) for few in zip(scores.split(step), at.split(step), within.split(step), strict=True)
        ]
        ctx.save_for_backward(states, vectors, scores, *([] if moved is None else [moved]))
        return (part - torch.cat(totals))[:, 0]

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: FunctionCtx, gradient: Tensor
    ) -> tuple[Tensor, Tensor, None, None, Tensor | None]:
        states, vectors, slopes, *moved = ctx.saved_tensors  # type: ignore[attr-defined]
        of_states, of_vectors = ctx.types  # type: ignore[attr-defined]
        gradient = gradient[:, None]
        weighted = (states * gradient).to(states.dtype)
        of_by = slopes.gather(1, moved[0]).to(of_states) * gradient if moved else None
        return (slopes @ vectors).to(of_states) * gradient, (weighted.T @ slopes).T.to(of_vectors), None, None, of_by


def _slopes_in_place(scores: Tensor, at: Tensor, within: Tensor) -> Tensor:
    """Turn scores (n, rows) into the derivatives of the log-shares by them; returns (n, 1), the scores' log-sum-exp.

    at, within: (n, m) the members, and the share of each among them, in the type of the sums
    """
    exact = scores.to(within.dtype, copy=scores.dtype != within.dtype)
    top = exact.amax(1, keepdim=True)
    total = exact.sub_(top).exp_().sum(1, keepdim=True)
    scores.copy_(exact.mul_(-1 / total).scatter_add_(1, at, within))
    return total.log_().add_(top)


def log_share(
    states: Tensor, vectors: Tensor, members: Tensor, moved: Tensor | None = None, by: Tensor | None = None
) -> Tensor:
    """The logarithm of the probability that a softmax over all rows gives to some of them together.

    states:  (n, d)
    vectors: (rows, d); the score of a row is its product with the state
    members: (n, m) int64 rows, all different, -1 where there is none; at least one for each state
    moved:   (n, m) int64 rows whose score is not the product alone, all different, -1 where there is none
    by:      (n, m) what is added to their scores, in the type of ``states``; 0 where there is none
    returns  (n,); the products are in autocast's type where that is on, all else in that of ``states``
    """
    return _LogShare.apply(states, vectors, members, moved, by)  # type: ignore[no-any-return, no-untyped-call]
