"""BSARec's mixing layer (arXiv 2312.10325, section 4): low frequencies of the history as they are, high ones rescaled.

With F the discrete Fourier transform along the history, per channel,

    low = F^-1 (the lowest frequencies of F x);  high = x - low;  filter(x) = low + beta^2 * high

and a layer mixes ``alpha * LN(x + filter(x)) + (1 - alpha) * LN(x + attention(x))``. The filter is a circular
convolution: the state of a place depends on the items *after* it too. So a model with this layer must be trained on
prefixes, with the last place of each only, as the authors' code does; at every place of a history it would see its
targets.

Three choices where article and code leave some:

- ``cutoff`` is c of the code, which keeps the frequencies 0..c // 2 of the real transform: with their conjugates, the c
  lowest of the complex one for odd c.
- The transform runs over ``max_history`` places (``filter_length: padded``, the code's), with zeros where a history is
  padded. In the code, padded places carry embeddings, which leak into the real ones; here they are masked. ``own``
  transforms each history at its own length instead, and passes whole the histories of at most 2 (c // 2) + 1 items.
- The projection on low frequencies is a matrix of cosines, since it is linear, so a batch need be no longer than its
  longest history: zeros before it add nothing. For 50 places that is also faster than two transforms.
"""

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.accuracy.rivals.attention import Places

FilterLength = Literal["padded", "own"]


def low_pass(length: int, frequencies: int) -> np.ndarray:
    """The projection on the lowest frequencies of the real Fourier transform.

    returns (length, length) float64: row i gives the smoothed value at place i of a signal of that length.
    """
    kept = min(frequencies, length // 2 + 1)
    k = np.arange(kept)
    twice = np.where((k == 0) | (2 * k == length), 1.0, 2.0)  # the others come with their conjugates
    shift = np.arange(length)[:, None] - np.arange(length)
    return np.asarray((twice * np.cos(2 * np.pi * shift[..., None] * k / length)).sum(-1) / length)


def low_passes(max_length: int, frequencies: int, filter_length: FilterLength) -> Tensor:
    """The projection for every number of real places, right-aligned: (max_length + 1, max_length, max_length), or
    (1, max_length, max_length) where they are all one."""
    if filter_length == "padded":
        return torch.from_numpy(low_pass(max_length, frequencies)[None]).to(torch.get_default_dtype())
    table = np.zeros((max_length + 1, max_length, max_length))
    for n in range(1, max_length + 1):
        table[n, -n:, -n:] = low_pass(n, frequencies)
    return torch.from_numpy(table).to(torch.get_default_dtype())


class FrequencyFilter(nn.Module):
    """low + beta^2 * (x - low), beta learnt for each channel; without the residual around it."""

    projections: Tensor

    def __init__(self, hidden_size: int, max_history: int, cutoff: int, filter_length: FilterLength) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.randn(hidden_size))
        self.register_buffer("projections", low_passes(max_history, cutoff // 2 + 1, filter_length), persistent=False)

    def forward(self, x: Tensor, places: Places, queries: int) -> Tensor:
        """x: (rows, n, d), n at most ``max_history``; returns (rows, queries, d): the last places."""
        x = x * places.real[..., None].to(x.dtype)
        projection = self.projections[:, -queries:, -x.shape[1] :].to(x.dtype)  # (1 or lengths, queries, n)
        if len(projection) > 1:
            projection = projection[places.real.sum(1)]
        low = projection @ x  # (rows, queries, d)
        return low + self.beta.square() * (x[:, -queries:] - low)


class Mixture(nn.Module):
    """alpha * one way + (1 - alpha) * the other; a way without weight is not computed."""

    def __init__(self, alpha: float, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.alpha, self.first, self.second = alpha, first, second

    def forward(self, x: Tensor, places: Places, queries: int) -> Tensor:
        """x: (rows, n, d); returns (rows, queries, d)."""
        if self.alpha == 0.0:
            return self.second(x, places, queries)  # type: ignore[no-any-return]
        if self.alpha == 1.0:
            return self.first(x, places, queries)  # type: ignore[no-any-return]
        return torch.lerp(self.second(x, places, queries), self.first(x, places, queries), self.alpha)
