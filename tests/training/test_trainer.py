"""What the training loop keeps, when it stops, and how it fails; with validation figures written in the test."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pytest
import torch

from gen_rec.cli import parse_config
from gen_rec.config import Config
from gen_rec.data.batches import TrainingRows, epoch_batches
from gen_rec.data.interactions import Dataset
from gen_rec.embeddings.store import load_embeddings
from gen_rec.objectives.eager import Batch, EagerObjective
from gen_rec.recommender import Recommender
from gen_rec.run import Run
from gen_rec.training.eager_source import EagerSource
from gen_rec.training.schedule import make_optimizer
from gen_rec.training.stage import build_recommender, make_accelerator, training_rows
from gen_rec.training.trainer import Trainer, TrainingError

STEPS = 2  # of an epoch: 120 rows, 60 at a time


@dataclass
class Bench:
    """A trainer, and what it did."""

    trainer: Trainer
    objective: EagerObjective
    kept: list[dict[str, torch.Tensor]]
    validated: list[dict[str, torch.Tensor]]

    def state(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().clone() for name, value in self.objective.model.state_dict().items()}


@pytest.fixture
def bench(
    fresh_run: Callable[[str], Path], options: Callable[..., list[str]]
) -> Callable[..., Bench]:  # fmt: skip
    def make(figures: Sequence[float] | None, *changes: str, folder: Path | None = None) -> Bench:
        run = Run(folder or fresh_run("run"))
        config = parse_config(options(run.folder, "--training.batch_size=60", *changes))
        dataset = Dataset.load(run.data)
        torch.manual_seed(0)
        model = build_recommender(config, run, dataset).model
        tables = {name: torch.from_numpy(load_embeddings(run.embeddings(name))[0]) for name in config.model.streams}
        objective = EagerObjective(model, tables, config.objective)
        kept: list[dict[str, torch.Tensor]] = []
        validated: list[dict[str, torch.Tensor]] = []
        left = iter(figures or ())

        def validate() -> dict[str, float]:
            validated.append(made.state())
            return {"figure": next(left), "other": 0.1}

        trainer = Trainer(
            make_accelerator(config), objective, EagerSource(training_rows(dataset, config)),
            None if figures is None else validate, "figure", lambda: kept.append(made.state()), lambda: True,
            config.training, config.seed, run.folder, "key",
        )  # fmt: skip
        made = Bench(trainer, objective, kept, validated)
        return made

    return make


def training_rows_of(trainer: Trainer) -> TrainingRows:
    assert isinstance(trainer.source, EagerSource)
    return trainer.source.rows


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_patience_and_the_best_epoch(bench: Callable[..., Bench]) -> None:
    # Best in epoch 1; epoch 2 is equal, which is no better, and epoch 3 is worse: two waited, and no fifth epoch.
    made = bench([0.2, 0.5, 0.5, 0.4, 0.9], "--training.epochs=9", "--training.patience=2")
    progress = made.trainer.fit()
    assert (progress.best, progress.best_epoch, progress.epoch, progress.step) == (0.5, 1, 4, 4 * STEPS)
    assert progress.finished
    assert len(made.validated) == 4
    assert len(made.kept) == 2
    assert same(made.kept[-1], made.validated[1])  # the best one,
    assert not same(made.kept[-1], made.state())  # and not the last


def test_a_better_epoch_resets_the_patience(bench: Callable[..., Bench]) -> None:
    made = bench([0.2, 0.1, 0.3, 0.1, 0.4, 0.1, 0.1], "--training.epochs=7", "--training.patience=2")
    progress = made.trainer.fit()
    assert (progress.epoch, progress.best_epoch, len(made.kept)) == (7, 4, 3)


def test_finished_is_finished(bench: Callable[..., Bench]) -> None:
    first = bench([0.5, 0.4], "--training.epochs=9", "--training.patience=1")
    first.trainer.fit()
    again = bench([], "--training.epochs=9", "--training.patience=1", folder=first.trainer.folder)
    progress = again.trainer.fit()  # validate would fail: there is no figure left
    assert (progress.epoch, progress.best, progress.finished) == (2, 0.5, True)
    assert not again.kept


def test_without_validation_the_last_weights_are_kept(bench: Callable[..., Bench]) -> None:
    made = bench(None, "--training.epochs=3", "--training.patience=1")
    progress = made.trainer.fit()
    assert (progress.epoch, progress.best_epoch) == (3, 2)
    assert same(made.kept[-1], made.state())


def test_validations_apart(bench: Callable[..., Bench]) -> None:
    # Every second epoch, and after the last one whatever its number.
    made = bench([0.1, 0.2, 0.3], "--training.epochs=5", "--training.validate_every=2")
    assert made.trainer.fit().best_epoch == 4
    lines = [json.loads(line) for line in (made.trainer.folder / "log.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["valid/figure"]) for line in lines if "valid/figure" in line] == [
        (1, 0.1), (3, 0.2), (4, 0.3)
    ]  # fmt: skip


def test_averaged_weights_are_what_is_validated_and_kept(bench: Callable[..., Bench]) -> None:
    made = bench([0.5], "--training.epochs=1", "--training.weight_averaging=0.9")
    plain = bench([0.5], "--training.epochs=1", folder=made.trainer.folder)
    plain.trainer.fit(fresh=True)
    made.trainer.fit(fresh=True)
    assert same(plain.state(), made.state())  # the average changes nothing of the training,
    assert same(made.validated[0], made.kept[0])
    assert not same(made.kept[0], made.state())  # and is not its last weights
    averaged = dict(zip(dict(made.objective.model.named_parameters()), made.trainer.average.average, strict=True))
    assert all(torch.equal(made.kept[0][name], value) for name, value in averaged.items())


def test_the_step_is_adamws_on_the_mean_over_targets(bench: Callable[..., Bench]) -> None:
    # One step, by hand: the gradient of the mean loss over the batch's targets, clipped, at the first rate.
    changes = ("--training.epochs=1", "--training.batch_size=120", "--training.gradient_clip=0.5",
               "--model.dropout=0", "--model.embedding_dropout=0", "--objective.transfer=false")  # fmt: skip
    made = bench(None, *changes)
    twin = bench(None, *changes, folder=made.trainer.folder).objective
    made.trainer.fit(fresh=True)

    rows = training_rows_of(made.trainer)
    order = epoch_batches(rows.lengths, 120, 0, 0)[0]
    batch = Batch(*(torch.from_numpy(a) for a in rows.batch(order)))
    optimizer = make_optimizer(twin, made.trainer.config)
    twin.train()
    twin(batch)["loss"].backward()
    norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), 0.5)
    assert norm > 0.5  # so that the clip does something
    for group in optimizer.param_groups:
        group["lr"] /= 4  # step 1 of 4 of the warm-up, at each group's own multiple of the rate
    optimizer.step()
    for (name, mine), theirs in zip(made.objective.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-7, msg=name)


def poison(patch: pytest.MonkeyPatch, step: int, what: str) -> None:
    """Make the loss (or only its gradient) NaN at a step."""
    original, calls = EagerObjective.forward, 0

    def forward(self: EagerObjective, *arguments: object) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        terms = original(self, *arguments)  # type: ignore[arg-type]
        if calls == step and what == "loss":
            terms["contrastive"] = terms["contrastive"] * torch.nan
            terms["loss"] = terms["loss"] + terms["contrastive"]
        elif calls == step:
            terms["loss"] = terms["loss"] + (terms["loss"] * 0).sqrt()  # the slope of a root at 0: inf * 0
        return terms

    patch.setattr(EagerObjective, "forward", forward)


@pytest.mark.parametrize(("what", "clip"), [("loss", "1.0"), ("gradient", "1.0"), ("gradient", "0")])
def test_not_a_number(bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, what: str, clip: str) -> None:
    changes = ("--training.epochs=3", f"--training.gradient_clip={clip}")
    whole = bench([0.1, 0.2, 0.3], *changes)
    before = {}
    original = Trainer._step

    def step(self: Trainer, *arguments: object) -> object:
        before.update(whole.state())
        return original(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", step)
        poison(patch, 2 * STEPS + 1, what)
        with pytest.raises(TrainingError) as error:
            whole.trainer.fit()
    text = str(error.value)
    assert f"the {what} is not finite at step {2 * STEPS + 1} (epoch 2): loss " in text
    assert "generation/behavior " in text
    assert ("contrastive nan" in text) == (what == "loss")
    # The peak is 0.003; of 6 steps 4 are warm-up, so step 5 is half-way down the cosine: 0.003 * (0.02 + 0.98 / 2).
    assert "learning rate 0.00153" in text
    assert str(whole.trainer.checkpoint) in text
    assert same(before, whole.state())  # no weight was touched by the bad step
    resumed = bench([0.3], *changes, folder=whole.trainer.folder)
    progress = resumed.trainer.fit()  # the checkpoint of the end of epoch 1 is whole
    assert (progress.epoch, progress.best_epoch, progress.step) == (3, 2, 3 * STEPS)


def test_nothing_to_learn(bench: Callable[..., Bench]) -> None:
    made = bench(None)
    rows = training_rows_of(made.trainer)
    none = TrainingRows(rows.sequences, rows.start[:0], rows.end[:0], rows.first[:0], rows.dense)
    with pytest.raises(TrainingError, match="holds no user with two interactions"):
        Trainer(made.trainer.accelerator, made.objective, EagerSource(none), None, "", print, lambda: True,
                made.trainer.config, 0, made.trainer.folder, "key")  # fmt: skip


def test_killed_between_the_renames_of_a_checkpoint(bench: Callable[..., Bench]) -> None:
    made = bench([0.5, 0.4], "--training.epochs=2")
    made.trainer.fit()
    last = made.trainer.checkpoint
    last.rename(last.with_name("old"))  # the new one has not taken its place yet
    again = bench([], "--training.epochs=2", folder=made.trainer.folder)
    assert again.trainer.fit().epoch == 2


def test_data_without_validation_targets(
    fresh_run: Callable[[str], Path], options: Callable[..., list[str]], train_here: Callable[[Config], bool],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    run = Run(fresh_run("run"))
    table = pl.read_parquet(run.data / "interactions.parquet")
    table.with_columns(split=pl.lit("train")).write_parquet(run.data / "interactions.parquet")
    config = parse_config(options(run.folder, "--training.epochs=1"))
    assert train_here(replace(config, seed=1))
    assert "no validation targets; the weights of the last epoch are kept" in caplog.text
    assert len(Recommender.from_pretrained(run.folder).recommend([["i1"]], k=3)) == 3
