"""Training DIN on a catalogue whose right answer is known by looking."""

import logging

import numpy as np
import polars as pl
import pytest
import torch

from gen_rec.data.interactions import Dataset
from gen_rec.embeddings.config import DINConfig
from gen_rec.embeddings.din_training import Validation, make_din, train_din
from gen_rec.embeddings.sampling import NegativeSampler
from gen_rec.errors import DataError, GenRecError

CONFIG = DINConfig(
    dim=12, activation_size=6, mlp_sizes=[8, 4], negatives=16, batch_positions=128, max_epochs=8,
    learning_rate=0.02, dropout=0.0, valid_cases=50, patience=8,
)  # fmt: skip


def dataset_of(lists: list[list[int]], n_items: int, held_out: int = 2) -> Dataset:
    """The last item of each list is test, the one before it validation."""
    sizes = np.array([len(x) for x in lists], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    split = np.zeros(offsets[-1], dtype=np.uint8)
    for back in range(held_out):
        split[offsets[1:] - 1 - back] = 2 - back
    ids = [str(item) for item in range(n_items)]
    return Dataset(
        items=pl.DataFrame({"item_id": ids, "title": ids, "text": ids}),
        user_ids=np.arange(len(lists)).astype(str).astype(object),
        offsets=offsets,
        item_index=np.concatenate([np.asarray(x, dtype=np.int32) for x in lists]),
        timestamps=np.arange(offsets[-1]),
        split=split,
    )


@pytest.fixture(scope="module")
def four_tastes() -> Dataset:
    """200 users; each takes eight items of one of four groups of ten. Items 40 to 42 nobody ever took."""
    rng = np.random.default_rng(0)
    return dataset_of([(user % 4 * 10 + rng.integers(0, 10, 8)).tolist() for user in range(200)], n_items=43)


def test_items_of_the_same_people_come_to_lie_together(four_tastes: Dataset) -> None:
    table, info = train_din(four_tastes, CONFIG, seed=0)
    assert table.shape == (43, 12)
    assert table.dtype == np.float32
    unit = table[:40] / np.linalg.norm(table[:40], axis=1, keepdims=True)
    likeness = unit @ unit.T
    np.fill_diagonal(likeness, -1)
    nearest = np.argsort(-likeness, axis=1)[:, :5]
    assert (nearest // 10 == np.arange(40)[:, None] // 10).mean() > 0.9  # by chance 9 / 39
    losses = [row["valid_loss"] for row in info["history"]]
    assert losses[0] > min(losses)
    assert min(losses) < np.log(40) - 0.5  # a uniform guess over the catalogue
    assert info["best_epoch"] == 1 + int(np.argmin(losses))


def test_the_same_seed_gives_the_same_table_and_leaves_the_global_generator_alone(
    four_tastes: Dataset,
) -> None:
    config = DINConfig(dim=8, max_epochs=2, batch_positions=128, negatives=8, dropout=0.3)
    tables = []
    for seed, noise in ((3, 1), (3, 2), (4, 1)):
        torch.manual_seed(noise)  # of no influence
        state = torch.get_rng_state()
        tables.append(train_din(four_tastes, config, seed=seed)[0])
        assert torch.equal(state, torch.get_rng_state())
    np.testing.assert_array_equal(tables[0], tables[1])
    assert np.abs(tables[0] - tables[2]).max() > 0.01


def test_validation_and_test_items_teach_nothing() -> None:
    lists = [[0, 1, 2, 3, 4, 5], [1, 2, 3, 0, 6, 7], [2, 0, 1, 3, 4, 7]]
    changed = [[*x[:-2], 6, 5] for x in lists]
    config = DINConfig(dim=4, max_epochs=3, negatives=4, patience=3, unseen="mean")
    histories = [train_din(dataset_of(data, 8), config, seed=0)[1]["history"] for data in (lists, changed)]
    before, after = ([row["loss"] for row in history] for history in histories)
    assert before == after  # validation may choose the epoch, and nothing else


def test_unseen_items_get_the_mean_or_what_their_text_says(
    four_tastes: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    config = DINConfig(dim=8, max_epochs=1, unseen="mean")
    table, info = train_din(four_tastes, config, seed=0)
    assert (info["unseen"], info["filled"]) == (3, "mean")
    np.testing.assert_allclose(table[40:], np.tile(table[:40].mean(0), (3, 1)), rtol=1e-5, atol=1e-7)

    semantic = np.random.default_rng(1).normal(size=(43, 5)).astype(np.float32)
    config = DINConfig(dim=8, max_epochs=1, unseen="from_text", ridge=1.0)
    from_text, info = train_din(four_tastes, config, seed=0, semantic=semantic)
    assert info["filled"] == "from_text"
    np.testing.assert_array_equal(from_text[:40], table[:40])
    sklearn = pytest.importorskip("sklearn.linear_model")
    centred = semantic[:40].astype(np.float64) - semantic[:40].mean(0, dtype=np.float64)
    penalty = 1.0 * np.square(centred).sum() / 5 / 100
    oracle = sklearn.Ridge(alpha=penalty).fit(semantic[:40].astype(np.float64), table[:40].astype(np.float64))
    np.testing.assert_allclose(from_text[40:], oracle.predict(semantic[40:].astype(np.float64)), rtol=1e-4, atol=1e-6)

    without, info = train_din(four_tastes, config, seed=0)
    assert info["filled"] == "mean"
    assert "no semantic embeddings" in caplog.text
    np.testing.assert_array_equal(without, table)


def test_training_stops_when_validation_does_not_improve(
    four_tastes: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    config = DINConfig(
        dim=16, max_epochs=40, patience=2, learning_rate=0.05, negatives=16, batch_positions=64, dropout=0.0
    )
    with caplog.at_level(logging.INFO):
        _, info = train_din(four_tastes, config, seed=0)
    losses = [row["valid_loss"] for row in info["history"]]
    assert len(losses) == info["best_epoch"] + 2 < 40
    assert min(losses) == losses[info["best_epoch"] - 1]
    assert "valid_loss" in caplog.text


def test_without_validation_every_epoch_runs_and_the_last_is_kept() -> None:
    data = dataset_of([[0, 1, 2], [1, 2, 0], [2, 1, 0]], 3, held_out=0)
    _, info = train_din(data, DINConfig(dim=4, max_epochs=3, patience=1, negatives=2), seed=0)
    assert [set(row) for row in info["history"]] == [{"epoch", "loss"}] * 3
    assert info["best_epoch"] == 3


def test_nothing_to_predict_is_said() -> None:
    with pytest.raises(DataError, match="no user has two interactions in the training part"):
        train_din(dataset_of([[0, 1, 2], [1, 2, 0]], 3), CONFIG, seed=0)


def test_a_loss_that_is_no_number_stops_with_the_setting_to_change(four_tastes: Dataset) -> None:
    config = DINConfig(dim=4, learning_rate=1e30, max_epochs=2, batch_positions=64, negatives=4)
    with pytest.raises(GenRecError, match=r"DIN, epoch \d, batch \d+: the loss is .*learning_rate"):
        train_din(four_tastes, config, seed=0)


def test_make_din_uses_every_setting() -> None:
    config = DINConfig(dim=5, activation_size=7, mlp_sizes=[6, 3], score="mlp", max_history=9, dropout=0.25)
    model = make_din(11, config)
    assert model.table.weight.shape == (11, 5)
    assert model.activation.first.weight.shape == (7, 20)
    assert model.of_interest.weight.shape == (6, 5)
    assert (model.bias, model.max_history, model.dropout.p) == (None, 9, 0.25)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dim": 0}, "behavior.dim must be at least 1, got 0"),
        ({"mlp_sizes": []}, "behavior.mlp_sizes"),
        ({"score": "dot"}, r"behavior.score must be one of \['mlp', 'mlp\+dot'\], got 'dot'"),
        ({"unseen": "zero"}, "behavior.unseen"),
        ({"dropout": 1.0}, "behavior.dropout"),
        ({"learning_rate": 0.0}, "behavior.learning_rate"),
        ({"weight_decay": -1.0}, "behavior.weight_decay"),
        ({"ridge": 0.0}, "behavior.ridge"),
    ],
)
def test_settings_are_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DINConfig(**settings)  # type: ignore[arg-type]


def test_validation_loss_is_the_mean_over_cases_scored_one_by_one(four_tastes: Dataset) -> None:
    config = DINConfig(dim=6, valid_cases=7, max_history=3, dropout=0.5)
    model = make_din(four_tastes.n_items, config)
    cases = four_tastes.cases("valid")
    sampler = NegativeSampler(torch.from_numpy(four_tastes.train_counts()), 0.75)
    validation = Validation(cases, sampler, config, np.random.default_rng(0), torch.Generator().manual_seed(0))
    assert len(validation) == 7
    chosen = np.sort(np.random.default_rng(0).permutation(len(cases.target))[:7])
    losses = []
    model.eval()
    for row in chosen:
        history, target = torch.from_numpy(cases[row][-3:].astype(np.int64))[None], int(cases.target[row])
        real = torch.ones_like(history, dtype=torch.bool)
        own = model(history, real, torch.tensor([target])).double()
        others = model(history, real, validation.negatives).double() - validation.log_expected
        kept = others[0, validation.negatives != target]
        losses.append((torch.cat([own[0], kept]).logsumexp(0) - own[0, 0]).item())
    # float32 scores, a few hundred of them summed
    assert validation.loss(model.train()) == pytest.approx(np.mean(losses), rel=1e-5)


def test_validation_leaves_out_targets_that_training_never_saw() -> None:
    data = dataset_of([[0, 1, 2, 0], [1, 0, 1, 2], [0, 1, 0, 1]], 3)  # item 2 is only ever held out
    config = DINConfig(dim=4)
    sampler = NegativeSampler(torch.from_numpy(data.train_counts()), 0.75)
    validation = Validation(
        data.cases("valid"), sampler, config, np.random.default_rng(0), torch.Generator().manual_seed(0)
    )
    assert validation.target.tolist() == [1, 0]
