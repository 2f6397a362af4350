"""The next-item task against numbers worked out by hand, and against a loop over a model's targets."""

import math

import pytest
import torch
from tiny_models import TOLERANCE, dense_targets, histories, tiny_model

from gen_rec.objectives.config import ObjectiveConfig
from gen_rec.objectives.eager import Batch, EagerObjective
from gen_rec.objectives.next_item import next_item_loss

VECTORS = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0], [3.0, 3.0]], dtype=torch.float64)
STATES = torch.tensor([[1.0, 0.5], [0.0, -1.0]], dtype=torch.float64)
TARGETS = torch.tensor([1, 3])


def test_the_whole_catalogue_by_hand():
    # dot products of state 0: 1, 1, -.5, 4.5; of state 1: 0, -2, -1, -3
    first = -1 + math.log(2 * math.exp(1) + math.exp(-0.5) + math.exp(4.5))
    second = 3 + math.log(1 + math.exp(-2) + math.exp(-1) + math.exp(-3))
    assert next_item_loss(STATES, TARGETS, VECTORS, 0).tolist() == pytest.approx([first, second], abs=1e-12)


def test_sampled_items_never_hold_the_target_twice(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def sample(high: int, size: tuple[int, ...], **_: object) -> torch.Tensor:
        asked.append((high, size))
        return torch.tensor([1, 2, 3])

    monkeypatch.setattr(torch, "randint", sample)
    found = next_item_loss(STATES, TARGETS, VECTORS, 3)
    assert asked == [(4, (3,))]
    first = -1 + math.log(math.exp(1) + math.exp(-0.5) + math.exp(4.5))  # itself once, items 2 and 3
    second = 3 + math.log(math.exp(-3) + math.exp(-2) + math.exp(-1))  # itself once, items 1 and 2
    assert found.tolist() == pytest.approx([first, second], abs=1e-12)


def test_a_catalogue_of_the_target_alone_has_no_loss_and_a_finite_gradient():
    states = STATES[:1].clone().requires_grad_()
    loss = next_item_loss(states, torch.zeros(1, dtype=torch.int64), VECTORS[:1], 4)
    assert loss.item() == pytest.approx(0, abs=1e-12)
    loss.sum().backward()
    assert states.grad is not None
    assert not states.grad.any()


@torch.no_grad()
def test_each_target_meets_the_state_of_the_item_before_it():
    model = tiny_model()
    tables = {name: torch.randn(model.items.table.num_embeddings, 3) for name in model.streams}
    settings = ObjectiveConfig(contrastive="off", transfer=False, next_item_weight=1.0)
    whole = EagerObjective(model, tables, settings).double().eval()
    history, lengths = histories([5, 2, 6, 1])
    targets = dense_targets(history)
    losses = []
    for row, place in (targets >= 0).nonzero().tolist():
        state = model.encode(history[row : row + 1, : place + 1], torch.tensor([place + 1])).last[0, 0]
        logits = model.items.vectors() @ state
        losses.append(logits.logsumexp(0) - logits[targets[row, place]])
    found = whole(Batch(history, lengths, targets))["next_item"]
    torch.testing.assert_close(found, torch.stack(losses).mean(), atol=TOLERANCE, rtol=0)
