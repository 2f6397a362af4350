"""Sampled softmax: negatives drawn by popularity, and the correction for having drawn them so."""

import torch
from torch import Tensor


class NegativeSampler:
    """Draws items with replacement, in proportion to (training count) ** power; never one without."""

    def __init__(self, counts: Tensor, power: float) -> None:
        """counts: (n_items,) how often training saw each item; not all zero."""
        weights = torch.where(counts > 0, counts.double() ** power, 0.0)
        self.probabilities = weights / weights.sum()  # (n_items,) float64
        self.cumulative = self.probabilities.cumsum(0)

    def draw(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw n items: (n,) int64, and (n,) float32 the logarithm of how often each is expected among n."""
        uniform = torch.rand(n, generator=generator, dtype=torch.float64) * self.cumulative[-1]
        items = torch.searchsorted(self.cumulative, uniform, right=True).clamp_max(len(self.cumulative) - 1)
        return items, (n * self.probabilities[items]).log().float()


def sampled_softmax_loss(positive: Tensor, negative: Tensor, log_expected: Tensor, hit: Tensor, real: Tensor) -> Tensor:
    """Cross-entropy of the true item against the catalogue, whose sum is estimated from sampled negatives.

        loss = −s_t + log(exp s_t + Σ_{c ≠ t} exp(s_c − log E_c))

    where E_c is how often c was to be expected in the sample. The bracket is then an unbiased estimate of the
    full softmax's sum. The true item is always in it, so it is not corrected (arXiv 2507.09331).

    positive:     (…) scores of the true items
    negative:     (…, n) scores of the sampled items
    log_expected: (n,) log E_c
    hit:          (…, n) True where a sampled item is the true one; it is left out
    real:         (…) True where there is a true item
    returns       the mean over real positions; 0 if there is none.
    """
    corrected = (negative - log_expected).masked_fill(hit, -torch.inf)
    total = torch.logaddexp(positive, corrected.logsumexp(-1))
    loss = (total - positive).masked_fill(~real, 0.0)
    return loss.sum() / real.sum().clamp_min(1)
