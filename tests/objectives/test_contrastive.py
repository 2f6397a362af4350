"""The contrastive losses against numbers worked out by hand."""

import math

import pytest
import torch
from tiny_models import TOLERANCE

from gen_rec.objectives.config import ObjectiveConfig
from gen_rec.objectives.contrastive import SummaryContrast, cosine, info_nce, smooth_l1


def test_smooth_l1_by_hand():
    predicted = torch.tensor([[0.5, 3.0], [1.0, -1.0]], dtype=torch.float64)
    target = torch.tensor([[0.0, 1.0], [1.0, -1.5]], dtype=torch.float64)
    # 0.5 * 0.5^2 = 0.125 and |2| - 0.5 = 1.5; 0 and 0.125
    assert smooth_l1(predicted, target).tolist() == [(0.125 + 1.5) / 2, 0.125 / 2]


def test_cosine_by_hand():
    predicted = torch.tensor([[3.0, 4.0], [1.0, 0.0], [-2.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    target = torch.tensor([[6.0, 8.0], [0.0, 5.0], [1.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
    assert cosine(predicted, target).tolist() == pytest.approx([0.0, 1.0, 2.0, 1 - math.sqrt(0.5)], abs=1e-12)


def test_info_nce_by_hand_and_never_against_the_target_itself():
    table = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [5.0, 5.0]], dtype=torch.float64)
    predicted = torch.tensor([[4.0, 0.0], [0.0, 0.5]], dtype=torch.float64)
    targets, negatives = torch.tensor([0, 2]), torch.tensor([0, 1, 2, 0])
    t = 0.5
    # row 0 looks along x: cosines 1 (target), 0 (item 1), -1 (item 2); item 0, sampled twice, is its own target
    first = -math.log(math.exp(1 / t) / (math.exp(1 / t) + math.exp(0) + math.exp(-1 / t)))
    # row 1 looks along y: cosine 0 with its target 2; negatives item 0 (0, twice) and item 1 (1); item 2 left out
    second = -math.log(math.exp(0) / (math.exp(0) + 2 * math.exp(0) + math.exp(1 / t)))
    assert info_nce(predicted, targets, negatives, table, t).tolist() == pytest.approx([first, second], abs=1e-12)


def test_info_nce_with_only_the_target_sampled_is_zero_and_has_a_finite_gradient():
    table = torch.eye(3, dtype=torch.float64)
    predicted = torch.tensor([[0.2, 0.7, -0.1]], dtype=torch.float64, requires_grad=True)
    loss = info_nce(predicted, torch.tensor([1]), torch.tensor([1, 1, 1]), table, 0.3)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    loss.sum().backward()
    assert not predicted.grad.any()


@pytest.mark.parametrize("kind", ["smooth_l1", "cosine"])
def test_summary_is_projected_and_compared_with_the_scaled_table(kind: str):
    table = torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 5.0], [1.0, 2.0, 3.0]], dtype=torch.float64)
    contrast = SummaryContrast(2, table, ObjectiveConfig(contrastive=kind)).double()  # type: ignore[arg-type]
    assert contrast.table.square().mean().item() == pytest.approx(1)
    scaled = table / math.sqrt((9 + 16 + 25 + 14) / 12)
    summary, targets = torch.tensor([[1.0, -1.0], [0.5, 2.0]], dtype=torch.float64), torch.tensor([3, 1])
    predicted = summary @ contrast.project.weight.T + contrast.project.bias
    expected = {"smooth_l1": smooth_l1, "cosine": cosine}[kind](predicted, scaled[targets])
    torch.testing.assert_close(contrast(summary, targets), expected, atol=TOLERANCE, rtol=0)


def test_info_nce_samples_the_stated_number_by_the_seed_of_torch(monkeypatch: pytest.MonkeyPatch):
    table = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    contrast = SummaryContrast(2, table, ObjectiveConfig(contrastive="info_nce", negatives=40, temperature=0.2))
    summary, targets = torch.tensor([[1.0, -1.0], [0.5, 2.0]]), torch.tensor([3, 1])
    torch.manual_seed(3)
    loss = contrast(summary, targets)
    torch.manual_seed(3)
    negatives = torch.randint(9, (40,))
    assert torch.equal(loss, info_nce(contrast.project(summary), targets, negatives, contrast.table, 0.2))
    monkeypatch.setattr(torch, "randint", lambda n, shape, device: torch.arange(n).repeat(9)[: shape[0]])
    scores = torch.nn.functional.normalize(contrast.project(summary), dim=1)
    scores = scores @ torch.nn.functional.normalize(contrast.table, dim=1).T / 0.2  # (2, 9)
    counts = torch.bincount(torch.arange(9).repeat(9)[:40], minlength=9).expand(2, 9).clone()
    counts[[0, 1], targets] = 1  # the target once, as the positive
    expected = (counts * scores.exp()).sum(1).log() - scores[[0, 1], targets]
    torch.testing.assert_close(contrast(summary, targets), expected, atol=1e-5, rtol=0)


def test_the_table_is_frozen_and_not_saved():
    contrast = SummaryContrast(2, torch.ones(4, 3), ObjectiveConfig())
    assert sorted(contrast.state_dict()) == ["project.bias", "project.weight"]
    assert not contrast.table.requires_grad
    assert bool(SummaryContrast(2, torch.zeros(4, 3), ObjectiveConfig()).table.isfinite().all())
