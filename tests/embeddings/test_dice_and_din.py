"""DIN against loops written from the article's formulas, in float64."""

import itertools

import pytest
import torch
from torch import Tensor

from gen_rec.embeddings.dice import Dice
from gen_rec.embeddings.din import DIN, ActivationUnit


def small_din(score: str = "mlp+dot", max_history: int = 20) -> DIN:
    torch.manual_seed(0)
    model = DIN(30, 6, activation_size=5, mlp_sizes=[7, 4], score=score, max_history=max_history).double()
    for parameter in model.parameters():  # zeros (alpha, bias) would hide mistakes
        parameter.data += 0.3 * torch.randn_like(parameter)
    for module in model.modules():
        if isinstance(module, Dice):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model


def dice_by_hand(dice: Dice, values: Tensor) -> Tensor:
    """Evaluation: (channels,) -> (channels,), number by number."""
    out = []
    for s, mean, var, alpha in zip(values, dice.running_mean, dice.running_var, dice.alpha, strict=True):
        p = 1 / (1 + torch.exp(-(s - mean) / torch.sqrt(var + dice.eps)))
        out.append(p * s + (1 - p) * alpha * s)
    return torch.stack(out)


def weight_by_hand(unit: ActivationUnit, h: Tensor, t: Tensor) -> Tensor:
    first = unit.first.weight @ torch.cat([h, t, h * t, h - t]) + unit.first.bias
    return (unit.last.weight @ dice_by_hand(unit.dice, first) + unit.last.bias)[0]


def score_by_hand(model: DIN, history: list[int], candidate: int) -> Tensor:
    """The formulas at the head of din.py, one history, one candidate."""
    table, t = model.table.weight, model.table.weight[candidate]
    interest = torch.zeros_like(t)
    for item in history:
        interest = interest + weight_by_hand(model.activation, table[item], t) * table[item]
    joined = torch.cat([model.of_interest.weight, model.of_candidate.weight], dim=1)  # one layer over [u, t]
    hidden = dice_by_hand(model.mlp[0], joined @ torch.cat([interest, t]) + model.of_candidate.bias)
    hidden = dice_by_hand(model.mlp[2], model.mlp[1](hidden))
    score = model.mlp[3](hidden)[0]
    if model.bias is not None:
        score = score + interest @ t + model.bias.weight[candidate, 0]
    return score


def test_dice_in_training_is_the_formula_over_real_positions_and_follows_its_statistics() -> None:
    torch.manual_seed(0)
    dice = Dice(3, dim=1, momentum=0.25).double()
    dice.alpha.data = torch.tensor([0.1, -0.4, 0.7], dtype=torch.float64)
    values = torch.randn(4, 3, 5, dtype=torch.float64) * 2 + 1
    real = torch.rand(4, 1, 5) > 0.4
    kept = values.transpose(1, 2)[real[:, 0]]  # (n, 3)
    mean, var = kept.mean(0), kept.var(0, correction=0)
    p = torch.sigmoid((kept - mean) / torch.sqrt(var + dice.eps))
    expected = p * kept + (1 - p) * dice.alpha * kept
    torch.testing.assert_close(dice(values, real).transpose(1, 2)[real[:, 0]], expected)
    torch.testing.assert_close(dice.running_mean, 0.25 * mean)
    torch.testing.assert_close(dice.running_var, 0.75 + 0.25 * var)


@pytest.mark.parametrize("masked", [True, False])
def test_dice_gradient_is_right_through_the_statistics(masked: bool) -> None:
    torch.manual_seed(0)
    dice = Dice(4, dim=-2).double()
    values = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    real = torch.rand(3, 1, 5) > 0.4 if masked else None
    alpha = torch.randn(4, dtype=torch.float64, requires_grad=True)

    def run(values: Tensor, alpha: Tensor) -> Tensor:
        return torch.func.functional_call(dice, {"alpha": alpha}, (values, real))

    assert torch.autograd.gradcheck(run, (values, alpha))


@pytest.mark.parametrize("score", ["mlp", "mlp+dot"])
def test_scores_equal_a_loop_over_the_formulas(score: str) -> None:
    model = small_din(score).eval()
    histories, candidates = [[3, 8, 3, 21], [5], []], [0, 8, 13]
    padded = torch.tensor([[3, 8, 3, 21], [5, 0, 0, 0], [0, 0, 0, 0]])
    real = torch.arange(4) < torch.tensor([4, 1, 0])[:, None]
    expected = torch.stack([torch.stack([score_by_hand(model, h, c) for c in candidates]) for h in histories])
    torch.testing.assert_close(model(padded, real, torch.tensor(candidates)), expected)
    own = torch.tensor([[0, 13], [8, 8], [13, 0]])  # candidates of each row by itself
    by_row = torch.stack([row[[candidates.index(int(c)) for c in ids]] for row, ids in zip(expected, own, strict=True)])
    torch.testing.assert_close(model(padded, real, own), by_row)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("score", ["mlp", "mlp+dot"])
def test_more_padding_changes_nothing(training: bool, score: str) -> None:
    items = torch.tensor([[3, 8, 3, 21, 9], [5, 7, 0, 0, 0], [11, 2, 6, 0, 0]])
    real = torch.arange(5) < torch.tensor([5, 2, 3])[:, None]
    negatives = torch.tensor([1, 4, 3, 29])
    wide = torch.cat([items, torch.full((3, 4), 17)], 1)  # padding of another item, to be sure
    wide_real = torch.cat([real, torch.zeros(3, 4, dtype=torch.bool)], 1)
    results = []
    for tensor, mask in ((items, real), (wide, wide_real)):
        model = small_din(score).train(training)
        positive, negative, asked = model.score_sequences(tensor, mask, negatives)
        loss = positive[asked].square().sum() + negative[asked].square().sum()
        loss.backward()
        results.append((positive[asked], negative[asked], model))
    (positive, negative, narrow), (positive_wide, negative_wide, broad) = results
    torch.testing.assert_close(positive, positive_wide)
    torch.testing.assert_close(negative, negative_wide)
    for (name, one), (_, two) in zip(narrow.named_parameters(), broad.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, msg=lambda text, name=name: f"{name}: {text}")
    for (name, one), (_, two) in zip(narrow.named_buffers(), broad.named_buffers(), strict=True):
        torch.testing.assert_close(one, two, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("score", ["mlp", "mlp+dot"])
def test_one_pass_over_a_sequence_equals_its_prefixes_one_by_one(score: str) -> None:
    model = small_din(score, max_history=3).eval()
    items = torch.tensor([[3, 8, 3, 21, 9, 4], [5, 7, 12, 0, 0, 0]])
    lengths, negatives = [6, 3], torch.tensor([1, 4, 3])
    real = torch.arange(6) < torch.tensor(lengths)[:, None]
    positive, negative, asked = model.score_sequences(items, real, negatives)
    assert asked.sum(1).tolist() == [5, 2]
    for row, prefix in itertools.product(range(2), range(5)):
        if prefix + 1 < lengths[row]:
            history = items[row, max(0, prefix - 2) : prefix + 1].tolist()
            target = int(items[row, prefix + 1])
            torch.testing.assert_close(positive[row, prefix], score_by_hand(model, history, target))
            for column, other in enumerate(negatives.tolist()):
                torch.testing.assert_close(negative[row, prefix, column], score_by_hand(model, history, other))


def test_the_future_does_not_reach_the_past() -> None:
    model = small_din().eval()
    items, real = torch.tensor([[3, 8, 3, 21, 9]]), torch.ones(1, 5, dtype=torch.bool)
    changed = torch.tensor([[3, 8, 3, 10, 11]])
    before, after = (model.score_sequences(x, real, torch.tensor([1, 2])) for x in (items, changed))
    torch.testing.assert_close(before[0][:, :2], after[0][:, :2])
    torch.testing.assert_close(before[1][:, :3], after[1][:, :3])


@pytest.mark.parametrize("score", ["mlp", "mlp+dot"])
def test_gradients_reach_every_parameter(score: str) -> None:
    model = small_din(score).train()
    items, real = torch.tensor([[3, 8, 4, 21, 9]]), torch.ones(1, 5, dtype=torch.bool)
    positive, negative, _ = model.score_sequences(items, real, torch.tensor([1, 2]))
    (positive.square().sum() - negative.sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    used = model.table.weight.grad.abs().sum(1) > 0
    assert used.nonzero().flatten().tolist() == [1, 2, 3, 4, 8, 9, 21]
