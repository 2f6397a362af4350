"""Sampled softmax: numbers by hand, and the full softmax as what it estimates."""

import math

import numpy as np
import torch

from gen_rec.embeddings.sampling import NegativeSampler, sampled_softmax_loss


def test_loss_against_a_value_worked_out_by_hand() -> None:
    # s_t = 1; negatives score 0.5 and 2, expected 0.25 and 0.5 times; a third is the target itself, left out
    loss = sampled_softmax_loss(
        positive=torch.tensor([1.0, 9.0]),
        negative=torch.tensor([[0.5, 2.0, 1.0], [0.0, 0.0, 0.0]]),
        log_expected=torch.tensor([0.25, 0.5, 0.1]).log(),
        hit=torch.tensor([[False, False, True], [False, False, False]]),
        real=torch.tensor([True, False]),
    )
    bracket = math.exp(1.0) + math.exp(0.5) / 0.25 + math.exp(2.0) / 0.5  # 2.718 + 6.595 + 14.778, so a loss of 2.1823
    assert math.isclose(loss.item(), math.log(bracket) - 1.0, rel_tol=1e-6)


def test_bracket_is_an_unbiased_estimate_of_the_full_sum() -> None:
    counts = torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0])
    scores, target = torch.tensor([0.3, -1.0, 0.7, 1.5, -0.2]), 2
    sampler = NegativeSampler(counts, power=0.75)
    generator = torch.Generator().manual_seed(0)
    brackets = []
    for _ in range(4000):
        items, log_expected = sampler.draw(8, generator)
        loss = sampled_softmax_loss(scores[target], scores[items], log_expected, items == target, torch.tensor(True))
        brackets.append(math.exp(loss.item() + scores[target].item()))
    error = np.std(brackets) / math.sqrt(len(brackets))
    assert abs(np.mean(brackets) - scores.exp().sum().item()) < 4 * error  # 4 standard errors: 1 in 16,000


def test_every_sample_is_the_target_leaves_nothing_to_learn() -> None:
    positive = torch.tensor([0.3], requires_grad=True)
    loss = sampled_softmax_loss(
        positive,
        torch.full((1, 2), 0.3),
        torch.zeros(2),
        torch.ones(1, 2, dtype=torch.bool),
        torch.tensor([True]),
    )
    loss.backward()
    assert loss.item() == 0.0
    assert positive.grad is not None
    assert positive.grad.item() == 0.0


def test_sampler_follows_counts_to_the_power_and_never_draws_what_training_never_saw() -> None:
    counts = torch.tensor([16.0, 0.0, 1.0, 81.0, 0.0])
    sampler = NegativeSampler(counts, power=0.5)  # weights 4, 0, 1, 9, 0
    items, log_expected = sampler.draw(70_000, torch.Generator().manual_seed(1))
    shares = torch.bincount(items, minlength=5) / len(items)
    expected = torch.tensor([4, 0, 1, 9, 0]) / 14
    assert shares[1] == shares[4] == 0
    torch.testing.assert_close(shares, expected, atol=0.008, rtol=0)  # > 4 standard errors of the largest share
    torch.testing.assert_close(log_expected.exp(), expected[items] * 70_000, rtol=1e-5, atol=0)


def test_power_zero_is_uniform_over_trained_items() -> None:
    sampler = NegativeSampler(torch.tensor([5.0, 0.0, 1.0]), power=0.0)
    assert sampler.probabilities.tolist() == [0.5, 0.0, 0.5]
