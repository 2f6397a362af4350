"""Learning rates against their formulas, the optimiser's groups, the average of weights against a loop."""

import math

import pytest
import torch
from torch import nn

from gen_rec.training.averaging import WeightAverage
from gen_rec.training.config import TrainingConfig
from gen_rec.training.schedule import make_optimizer, make_scheduler, rate_factor
from gen_rec.training.source import RateGroups

WARMUP, TOTAL = 10, 110


def rates(schedule: str, **changes: object) -> list[float]:
    """Share of the peak at each step, as torch's scheduler hands it to the optimiser."""
    config = TrainingConfig(learning_rate=0.5, warmup_steps=WARMUP, schedule=schedule, **changes)  # type: ignore[arg-type]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=config.learning_rate)
    scheduler = make_scheduler(optimizer, config, TOTAL)
    found = []
    for _ in range(TOTAL):
        found.append(optimizer.param_groups[0]["lr"] / 0.5)
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("schedule", ["constant", "inverse_sqrt", "cosine"])
def test_warm_up_is_a_line_to_the_peak(schedule: str) -> None:
    assert rates(schedule)[:WARMUP] == pytest.approx([n / WARMUP for n in range(1, WARMUP + 1)])


def test_after_the_warm_up() -> None:
    steps = range(WARMUP + 1, TOTAL + 1)  # the n-th step, counted from one
    assert rates("constant")[WARMUP:] == [1.0] * (TOTAL - WARMUP)
    assert rates("inverse_sqrt")[WARMUP:] == pytest.approx([math.sqrt(10 / n) for n in steps])
    # Half a cosine from 1 to 0.02 over the 100 steps that are left: cos^2(pi x / 2) of what lies above the floor.
    assert rates("cosine")[WARMUP:] == pytest.approx(
        [0.02 + 0.98 * math.cos(math.pi / 2 * (n - WARMUP) / 100) ** 2 for n in steps]
    )
    assert rates("cosine")[-1] == pytest.approx(0.02)
    assert rate_factor(TrainingConfig(warmup_steps=WARMUP), TOTAL)(5000) == pytest.approx(0.02)  # never rises again


def test_without_warm_up_the_first_step_is_at_the_peak() -> None:
    config = TrainingConfig(warmup_steps=0, schedule="constant")
    assert rate_factor(config, 10)(0) == 1.0


def test_vectors_are_not_decayed() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Embedding(5, 2))
    module[1].bias.requires_grad_(False)
    decayed, plain = make_optimizer(module, TrainingConfig(weight_decay=0.1)).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert {id(p) for p in decayed["params"]} == {id(module[0].weight), id(module[2].weight)}
    assert {id(p) for p in plain["params"]} == {id(module[0].bias), id(module[1].weight)}  # the frozen one in none


class TwoRates(nn.Module):
    """Pretrained weights, and a head that learns ten times as fast."""

    def __init__(self) -> None:
        super().__init__()
        self.old, self.head, self.forgotten = nn.Linear(2, 3), nn.Linear(3, 1, bias=False), nn.Linear(1, 1)

    def parameter_groups(self) -> RateGroups:
        return [(list(self.old.parameters()), 1.0), (list(self.head.parameters()), 10.0)]


def test_groups_learn_at_their_own_rates() -> None:
    module = TwoRates()
    optimizer = make_optimizer(module, TrainingConfig(learning_rate=0.5, weight_decay=0.1))
    found = [(group["lr"], group["weight_decay"], [id(p) for p in group["params"]]) for group in optimizer.param_groups]
    assert found == [
        (0.5, 0.1, [id(module.old.weight)]), (0.5, 0.0, [id(module.old.bias)]),
        (5.0, 0.1, [id(module.head.weight)]), (5.0, 0.0, []),
    ]  # fmt: skip
    scheduler = make_scheduler(optimizer, TrainingConfig(learning_rate=0.5, warmup_steps=4), 8)
    assert scheduler.get_last_lr() == [0.125, 0.125, 1.25, 1.25]
    module.head(module.old(torch.ones(1, 2))).sum().backward()
    optimizer.step()  # a group may be empty
    assert make_optimizer(nn.Linear(1, 1), TrainingConfig()).param_groups[0]["lr"] == TrainingConfig().learning_rate


def test_average_equals_a_loop() -> None:
    module = nn.Linear(2, 2).double()
    average = WeightAverage(module, decay=0.6)
    expected = module.weight.detach().clone()
    for step in range(12):
        with torch.no_grad():
            module.weight += torch.randn(2, 2, dtype=torch.float64)
        average.update()
        decay = min(0.6, (1 + step) / (10 + step))  # 0.1, 0.18, 0.25, ... up to 0.6
        expected = decay * expected + (1 - decay) * module.weight.detach()
    now = module.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(module.weight.detach(), expected)
    assert torch.equal(module.weight, now)
    with pytest.raises(ZeroDivisionError), average.applied():
        raise ZeroDivisionError
    assert torch.equal(module.weight, now)  # put back after an error too


def test_average_goes_on_from_its_state() -> None:
    module = nn.Linear(2, 2)
    whole = WeightAverage(module, 0.9)
    whole.update()
    again = WeightAverage(nn.Linear(2, 2), 0.9)
    again.load_state_dict(whole.state_dict())
    assert again.steps == 1
    assert all(torch.equal(a, b) for a, b in zip(again.average, whole.average, strict=True))


def test_no_average() -> None:
    module = nn.Linear(2, 2)
    average = WeightAverage(module, 0.0)
    average.update()
    assert average.average == []
    before = module.weight.detach().clone()
    with average.applied():
        assert torch.equal(module.weight, before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "training.epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "training.batch_size must be at least 1, got 0"),
        ({"gradient_clip": -1.0}, "training.gradient_clip must be at least 0, got -1.0"),
        ({"learning_rate": 0.0}, "training.learning_rate must be positive, got 0.0"),
        ({"weight_averaging": 1.0}, r"training.weight_averaging must lie in \[0, 1\), got 1.0"),
    ],
)
def test_bad_settings_name_the_field(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**changes)  # type: ignore[arg-type]
