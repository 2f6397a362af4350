"""A run that was interrupted, in whatever way, ends with the weights of one that was not: equal to the last bit."""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch
from safetensors.torch import load_file

from gen_rec.cli import parse_config
from gen_rec.config import Config, to_yaml
from gen_rec.objectives.eager import EagerObjective
from gen_rec.training.trainer import Interrupted, TrainingError

STEPS = 30  # of an epoch of 120 rows, four at a time
SIGNALLED = ("--training.batch_size=2", "--training.gradient_accumulation=2", "--training.weight_averaging=0.9",
             "--model.dropout=0.2", "--training.epochs=3", "--training.selection=raw")  # fmt: skip


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def assert_same_weights(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    different = [name for name in first if not torch.equal(first[name], second[name])]
    assert not different


def log_lines(run: Path) -> list[dict[str, float]]:
    """Without the clock, which no resumed run repeats."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "wall_s"} for line in lines]


def signal_in_forward(patch: pytest.MonkeyPatch, call: int, signum: int = signal.SIGTERM) -> None:
    """Let the signal come while the objective is at its ``call``-th forward pass."""
    original, calls = EagerObjective.forward, 0

    def forward(self: EagerObjective, *arguments: object) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == call:
            signal.raise_signal(signum)
        return original(self, *arguments)  # type: ignore[arg-type]

    patch.setattr(EagerObjective, "forward", forward)


@pytest.mark.parametrize(
    "changes",
    [
        ["--model.dropout=0.3", "--model.embedding_dropout=0.3"],
        ["--training.weight_averaging=0.9"],
        ["--training.gradient_accumulation=2", "--training.batch_size=8"],
        ["--objective.contrastive=info_nce", "--model.encoder=bidirectional", "--training.batch_size=64"],
    ],
    ids=["dropout", "averaging", "accumulation", "bidirectional"],
)
def test_interrupted_in_the_middle_of_an_epoch(
    changes: list[str], fresh_run: Callable[[str], Path], options: Callable[..., list[str]],
    train_here: Callable[[Config], bool], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole, parts = fresh_run("whole"), fresh_run("parts")
    before = signal.getsignal(signal.SIGTERM)  # the default, or that of a library that ran in this process
    train_here(parse_config(options(whole, *changes)))
    config = parse_config(options(parts, *changes))
    for call in (3, 11):  # twice: in the first epoch (8 steps), and after it
        with monkeypatch.context() as patch:
            signal_in_forward(patch, call)
            with pytest.raises(Interrupted, match="the same command goes on") as stop:
                train_here(config)
            assert stop.value.signum == signal.SIGTERM
    train_here(config)
    assert_same_weights(whole, parts)
    assert log_lines(whole) == log_lines(parts)
    assert signal.getsignal(signal.SIGTERM) == before  # ours is taken off again


def test_checkpoint_of_other_settings_is_not_resumed(
    fresh_run: Callable[[str], Path], options: Callable[..., list[str]], train_here: Callable[[Config], bool],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    whole, changed = fresh_run("whole"), fresh_run("changed")
    train_here(parse_config(options(whole, "--training.learning_rate=0.01")))
    with monkeypatch.context() as patch:
        signal_in_forward(patch, 3)
        with pytest.raises(Interrupted):
            train_here(parse_config(options(changed)))
    caplog.set_level("INFO")
    train_here(parse_config(options(changed, "--training.learning_rate=0.01")))
    assert "is of other settings or data and is not resumed" in caplog.text
    assert_same_weights(whole, changed)


def test_skipped_forced_and_gone_back(
    fresh_run: Callable[[str], Path], options: Callable[..., list[str]], train_here: Callable[..., bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = fresh_run("run")
    config = parse_config(options(run))
    assert train_here(config)
    first = weights(run)
    assert not train_here(config)  # nothing has changed
    model = run / "model" / "model.safetensors"
    written = model.stat().st_mtime_ns
    assert train_here(config, force=True)  # from the start, not from the finished checkpoint
    assert model.stat().st_mtime_ns > written
    assert all(torch.equal(first[name], value) for name, value in weights(run).items())

    # Other settings keep weights, are stopped, and are taken back: their model must not pass for this one's.
    with monkeypatch.context() as patch:
        signal_in_forward(patch, 11)  # in the second epoch: a best model of the other settings is in its place
        with pytest.raises(Interrupted):
            train_here(parse_config(options(run, "--seed=5")))
    assert not all(torch.equal(first[name], value) for name, value in weights(run).items())
    assert train_here(config)
    assert all(torch.equal(first[name], value) for name, value in weights(run).items())


def test_settings_that_need_no_training(
    fresh_run: Callable[[str], Path], options: Callable[..., list[str]], train_here: Callable[..., bool]
) -> None:
    run = fresh_run("run")
    train_here(parse_config(options(run)))
    model = run / "model" / "model.safetensors"
    written = model.stat().st_mtime_ns
    free = ["--search.method=beam", "--search.beams=7", "--search.fusion=confidence", "--search.batch_size=3",
            "--search.behavior_weight=0.9", "--training.checkpoint_minutes=0", "--evaluation.resamples=3"]  # fmt: skip
    for change in free:
        assert not train_here(parse_config(options(run, change))), change
    assert model.stat().st_mtime_ns == written
    for change in ("--training.patience=4", "--model.dropout=0.1", "--objective.transfer=false", "--seed=1"):
        before = json.loads((run / "stages.json").read_text())["train"]
        assert train_here(parse_config(options(run, change, "--training.epochs=1"))), change
        assert json.loads((run / "stages.json").read_text())["train"] != before


def test_kept_weights_that_are_gone(
    fresh_run: Callable[[str], Path], options: Callable[..., list[str]], train_here: Callable[..., bool]
) -> None:
    run = fresh_run("run")
    config = parse_config(options(run, "--training.epochs=1"))
    train_here(config)
    shutil.rmtree(run / "model")
    with pytest.raises(TrainingError, match=r"were kept but are gone; .* train anew with --force true"):
        train_here(config)
    assert train_here(config, force=True)
    assert weights(run)


@pytest.fixture(scope="module")
def uninterrupted(
    prepared: Path, tmp_path_factory: pytest.TempPathFactory, options: Callable[..., list[str]],
    train_here: Callable[[Config], bool],
) -> Path:  # fmt: skip
    run = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("uninterrupted") / "run"))
    train_here(parse_config(options(run, *SIGNALLED)))
    return run


def wait_for_log(process: subprocess.Popen[str], run: Path, needle: str) -> None:
    log = run / "log.jsonl"
    while process.poll() is None and not (log.is_file() and needle in log.read_text()):
        time.sleep(0.01)
    if process.returncode is not None:
        pytest.fail(f"ended with {process.returncode} before the signal: {process.communicate()}")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda s: s.name)
def test_a_killed_command_goes_on(
    signum: signal.Signals, uninterrupted: Path, fresh_run: Callable[[str], Path],
    options: Callable[..., list[str]], start: Callable[..., subprocess.Popen[str]],
    train_here: Callable[[Config], bool],
) -> None:  # fmt: skip
    run = fresh_run("run")
    # SIGKILL gives no notice: there, a checkpoint after every step. How often one is written changes no weight.
    often = ["--training.checkpoint_minutes=0"] if signum == signal.SIGKILL else []
    arguments = options(run, *SIGNALLED, *often)
    (run / "config.yaml").write_text(to_yaml(parse_config(arguments)))
    process = start("train_gen.py", "--run", run)
    wait_for_log(process, run, '"step": 10')
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)

    if signum == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + signum  # 143 and 130, as shells count
        assert "Traceback" not in errors
        found = re.search(r"stopped by a signal after step (\d+) \(epoch (\d+)\)", errors)
        assert found
        assert 10 <= int(found[1]) < 3 * STEPS

    if signum == signal.SIGTERM:  # the same command again; in this process for the others, which saves the start
        process = start("train_gen.py", "--run", run)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert f"resuming after step {found[1]} " in errors  # type: ignore[index]
    else:
        train_here(parse_config(arguments))
    assert_same_weights(uninterrupted, run)
    assert log_lines(uninterrupted) == log_lines(run)


def test_ties_that_are_redrawn_are_another_training_and_go_on_where_it_stopped(
    fresh_run: Callable[[str], Path], options: Callable[..., list[str]], train_here: Callable[[Config], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def days(name: str) -> Path:
        """A new run whose timestamps are days of three interactions each."""
        run = fresh_run(name)
        path = run / "data" / "interactions.parquet"
        pl.read_parquet(path).with_columns(pl.col("timestamp") // 3).write_parquet(path)
        return run

    redrawn = "--data.tie_order=redrawn"
    whole, parts, plain = days("whole"), days("parts"), days("plain")
    train_here(parse_config(options(plain)))
    assert not train_here(parse_config(options(plain, "--data.tie_order=shuffled")))  # what the files hold is learnt
    train_here(parse_config(options(whole, redrawn)))
    config = parse_config(options(parts, redrawn))
    with monkeypatch.context() as patch:
        signal_in_forward(patch, 11)  # in the second epoch
        with pytest.raises(Interrupted):
            train_here(config)
    assert train_here(config)
    assert_same_weights(whole, parts)
    first, second = weights(whole), weights(plain)
    assert not all(torch.equal(first[name], value) for name, value in second.items())
    assert train_here(parse_config(options(plain, redrawn)))  # trained already, but in the files' order
