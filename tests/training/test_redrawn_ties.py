"""Training that draws the order of a day anew in every epoch."""

import signal
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from gen_rec.cli import parse_config
from gen_rec.config import Config
from gen_rec.objectives.eager import EagerObjective
from gen_rec.training.trainer import Interrupted

REDRAWN = "--data.tie_order=redrawn"


@pytest.fixture
def days(fresh_run: Callable[[str], Path]) -> Callable[[str], Path]:
    """A new run whose timestamps are days of three interactions each; prepared as it was, since times do not change."""

    def make(name: str) -> Path:
        run = fresh_run(name)
        path = run / "data" / "interactions.parquet"
        pl.read_parquet(path).with_columns(pl.col("timestamp") // 3).write_parquet(path)
        return run

    return make


def weights(run: Path) -> torch.Tensor:
    tensors = load_file(run / "model" / "model.safetensors")
    return torch.cat([value.flatten().float() for _, value in sorted(tensors.items())])


def test_it_is_another_training_and_goes_on_where_it_stopped(
    days: Callable[[str], Path], options: Callable[..., list[str]], train_here: Callable[[Config], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole, parts, plain = days("whole"), days("parts"), days("plain")
    train_here(parse_config(options(plain)))
    assert not train_here(parse_config(options(plain, "--data.tie_order=shuffled")))  # what the files hold is learnt
    train_here(parse_config(options(whole, REDRAWN)))
    config = parse_config(options(parts, REDRAWN))
    original, calls = EagerObjective.forward, []

    def stop_in_the_second_epoch(self: EagerObjective, *arguments: object) -> dict[str, torch.Tensor]:
        calls.append(1)
        if len(calls) == 11:
            signal.raise_signal(signal.SIGTERM)
        return original(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(EagerObjective, "forward", stop_in_the_second_epoch)
        with pytest.raises(Interrupted):
            train_here(config)
    assert train_here(config)
    assert torch.equal(weights(whole), weights(parts))
    assert not torch.equal(weights(whole), weights(plain))


def test_a_run_in_the_files_order_is_trained_again(
    days: Callable[[str], Path], options: Callable[..., list[str]], train_here: Callable[[Config], bool]
) -> None:
    run = days("run")
    train_here(parse_config(options(run, "--training.epochs=1")))
    assert train_here(parse_config(options(run, "--training.epochs=1", REDRAWN)))
