"""What EmbSum minimises: by hand, in every ablation, and that it teaches."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_embsum import TEXTS, TOLERANCE, all_finite, sequences, shop_tokens, tiny_embsum
from torch import Tensor

from gen_rec.embsum.batches import EmbSumBatch, Examples
from gen_rec.embsum.model import NOTHING, EmbSum
from gen_rec.embsum.objective import EmbSumObjective, nce_losses

CPU = torch.device("cpu")
KINDS = pytest.mark.parametrize("kind", ["t5", "bert"])


def test_nce_by_hand() -> None:
    scores = torch.log(torch.tensor([[1.0, 2.0, 5.0], [3.0, 1.0, 4.0]], dtype=torch.float64))
    negative = torch.tensor([[False, True, True], [False, False, True]])
    rows, positives = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1])
    expected = [-math.log(1 / 8), -math.log(3 / 7), -math.log(1 / 5)]  # a row's other positive is not counted
    found = nce_losses(scores, rows, positives, negative)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 6))
def test_nce_is_cross_entropy_over_the_positive_and_its_negatives(seed: int, rows: int, c: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(rows, c, generator=generator, dtype=torch.float64) * 5
    negative = torch.rand(rows, c, generator=generator) < 0.5
    owner = torch.randint(rows, (5,), generator=generator)
    positives = torch.randint(c, (5,), generator=generator)
    negative[owner, positives] = False
    found = nce_losses(scores, owner, positives, negative)
    for loss, row, positive in zip(found, owner, positives, strict=True):
        among = torch.cat([scores[row, positive][None], scores[row][negative[row]]])
        torch.testing.assert_close(loss, -among.log_softmax(0)[0], rtol=0, atol=1e-12)


def test_a_row_without_negatives_costs_nothing_and_has_finite_gradients() -> None:
    scores = torch.tensor([[30.0, -80.0], [1.0, 2.0]], requires_grad=True)
    negative = torch.tensor([[False, False], [True, False]])
    found = nce_losses(scores, torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), negative)
    assert found[:2].tolist() == [0, 0]
    assert found[2].item() == pytest.approx(math.log(1 + math.exp(-1)))
    found.sum().backward()
    share = 1 / (1 + math.e)
    torch.testing.assert_close(scores.grad, torch.tensor([[0, 0], [share, -share]]))


def test_far_scores_have_finite_losses_and_gradients() -> None:
    scores = torch.tensor([[-3e4, 3e4]], requires_grad=True)
    loss = nce_losses(scores, torch.tensor([0]), torch.tensor([0]), torch.tensor([[False, True]]))
    assert loss.item() == 6e4
    loss.sum().backward()
    assert scores.grad is not None
    assert scores.grad.tolist() == [[-1, 1]]


def teacher(histories: Sequence[Any]) -> list[str | None]:
    """Says of which kind the last item is; knows nothing of histories of one item."""
    kinds = ["nail polish", "hair"]
    return [None if len(one) < 2 else f"the user likes {kinds[int(one[-1] >= 6)]}" for one in histories]


def users(n: int, seed: int = 0) -> list[list[int]]:
    """Users who take items of one kind only, the first six or the last six."""
    rng = np.random.default_rng(seed)
    return [(6 * (i % 2) + rng.permutation(6)[:4]).tolist() for i in range(n)]


def lesson(model: EmbSum, n: int = 6, summaries: bool = True) -> Examples:
    return Examples(
        sequences(users(n)), shop_tokens(model), model.config, model.words.tokenizer, teacher if summaries else None, 0
    )


def batch_of(model: EmbSum, summaries: bool = True) -> EmbSumBatch:
    made = lesson(model, summaries=summaries)
    return made.batch(np.arange(len(made)), CPU, 0)


@KINDS
def test_the_loss_is_the_mean_over_targets_of_nce_and_of_the_summary(kind: str) -> None:
    """Of the summary, over the targets whose history has one."""
    model = tiny_embsum(kind, targets=2, summary_weight=0.3)
    batch = batch_of(model)
    assert batch.n_targets > 6
    with torch.no_grad():
        found = EmbSumObjective(model)(batch, batch.n_targets)
        encoded = model.encode_users(batch.histories, batch.summaries)
        items = model.encode_items(batch.candidates)
        # the other way to score: each user's own candidates, which here are all of them
        scores = model.score(encoded.vectors, items[None].expand(6, -1, -1, -1))
    nce, summary = 0.0, 0.0
    assert encoded.summary_loss is not None
    assert batch.summaries is not None
    has = (batch.summaries != NOTHING).any(1)
    assert 0 < has.sum() < len(has)
    n_told = int(has[batch.rows].sum())  # targets
    for row, positive in zip(batch.rows.tolist(), batch.positives.tolist(), strict=True):
        among = torch.cat([scores[row, positive][None], scores[row][batch.negative[row]]])
        nce -= among.log_softmax(0)[0].item() / batch.n_targets
        summary += encoded.summary_loss[row].item() / n_told
    assert found["nce"].item() == pytest.approx(nce, abs=TOLERANCE)
    assert found["summary"].item() == pytest.approx(summary, abs=TOLERANCE)
    assert found["loss"].item() == pytest.approx(nce + 0.3 * summary, abs=TOLERANCE)
    with torch.no_grad():
        half = EmbSumObjective(model)(batch, 2.0 * batch.n_targets)
    assert half["loss"].item() == pytest.approx(found["loss"].item() / 2, abs=TOLERANCE)


ABLATIONS: dict[str, dict[str, Any]] = {
    "the article": {},
    "no user poly-embedding": {"user_codes": 1},
    "no candidate poly-embedding": {"item_codes": 1},
    "no grouping": {"session_items": 1},
    "no summary loss": {"summary_weight": 0.0},
    "the state after the summary": {"state": "summary"},
    "all but one of everything": {"user_codes": 1, "item_codes": 1, "session_items": 1, "summary_weight": 0.0},
    "no in-batch negatives": {"in_batch_negatives": False},
    "no uniform negatives": {"uniform_negatives": 0},
    "no cosines": {"normalize": False},
    "some targets": {"targets": 3},
}


@KINDS
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_every_ablation_makes_a_step(kind: str, ablation: str) -> None:
    settings = ABLATIONS[ablation]
    model = tiny_embsum(kind, **settings).train()
    objective = EmbSumObjective(model)
    with_summary = model.config.summary_weight > 0
    batch = batch_of(model, with_summary)
    terms = objective(batch, batch.n_targets)
    assert ("summary" in terms) == with_summary
    assert terms["loss"].isfinite()
    terms["loss"].backward()
    assert all_finite(model)
    encoder = model.backbone.get_encoder()
    assert all(p.grad is not None and bool(p.grad.any()) for p in encoder.parameters() if p.ndim == 2)
    decoder = [p for name, p in model.backbone.named_parameters() if name.startswith("decoder.") and p.ndim == 2]
    assert any(p.grad is not None and bool(p.grad.any()) for p in decoder)
    # the only query of a code of its own still chooses among vectors
    for parameter in (model.user_attention.codes, model.item_attention.codes, model.score.log_scale):
        assert parameter.grad is not None
        assert parameter.grad.any()
    (pretrained, rate), (fresh, head_rate) = objective.parameter_groups()
    assert (rate, head_rate) == (1.0, model.config.head_rate)
    optimizer = torch.optim.SGD([{"params": pretrained, "lr": 1e-4}, {"params": fresh, "lr": 1e-4}])
    before = terms["loss"].item()
    optimizer.step()
    with torch.no_grad():
        assert objective(batch, batch.n_targets)["loss"].item() < before  # a small step down its own slope


def test_the_summary_weight_is_all_that_the_summary_adds() -> None:
    """With state "start" the choice of the next item is the same whatever is learnt of summaries."""
    model = tiny_embsum("t5")
    with torch.no_grad():
        taught = EmbSumObjective(model)(batch_of(model), 6.0)
        untaught = EmbSumObjective(model)(batch_of(model, False), 6.0)
    assert taught["nce"].item() == pytest.approx(untaught["nce"].item(), abs=TOLERANCE)
    assert untaught["loss"].item() == untaught["nce"].item()
    assert taught["loss"].item() > untaught["loss"].item()


def right_pairs(model: EmbSum, histories: list[list[int]]) -> float:
    """How often an item of the user's kind is above one of the other kind; half by chance."""
    tokens = shop_tokens(model)
    with torch.no_grad():
        vectors = model.eval().encode_users(tokens.histories(sequences(histories))).vectors
        items = model.encode_items(tokens.candidates(np.arange(len(TEXTS))))
        scores = model.score.all_pairs(vectors, items)
    model.train()

    def share(own: Tensor, other: Tensor) -> float:
        return (own[:, None] > other).double().mean().item()

    shares = [
        share(row[:6], row[6:]) if history[0] < 6 else share(row[6:], row[:6])
        for row, history in zip(scores, histories, strict=True)
    ]
    return float(np.mean(shares))


@KINDS
def test_it_learns_which_items_go_together(kind: str) -> None:
    """Users of one kind of items each; others than those learnt from, after a few steps."""
    torch.manual_seed(0)
    model = tiny_embsum(kind, uniform_negatives=4, targets=2, summary_weight=0.2)
    objective = EmbSumObjective(model).train()
    made = lesson(model, 48)
    others = users(40, seed=9)
    before = right_pairs(model, others)
    (pretrained, _), (fresh, _) = objective.parameter_groups()
    optimizer = torch.optim.Adam([{"params": pretrained, "lr": 3e-3}, {"params": fresh, "lr": 1e-2}])
    losses = []
    for epoch in range(8):
        for rows in made.steps(16, 0, epoch, 1):
            batch = made.batch(rows, CPU, epoch)
            terms = objective(batch, batch.n_targets)
            optimizer.zero_grad()
            terms["loss"].backward()
            optimizer.step()
            losses.append({name: term.item() for name, term in terms.items()})
    assert before < 0.75
    assert right_pairs(model, others) > 0.95
    for name in ("nce", "summary"):
        assert np.mean([one[name] for one in losses[-6:]]) < 0.8 * np.mean([one[name] for one in losses[:6]])
