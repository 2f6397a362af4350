"""The training stage of EmbSum: what it learns and leaves, and that an interruption changes nothing."""

import json
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gen_rec.cli import parse_config
from gen_rec.embsum import training as stage
from gen_rec.embsum.model import EmbSum
from gen_rec.embsum.objective import EmbSumObjective
from gen_rec.errors import GenRecError
from gen_rec.training.trainer import Interrupted


@pytest.fixture(autouse=True)
def _teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the users have a summary."""

    def teacher(histories: Sequence[np.ndarray]) -> list[str | None]:
        return ["the user likes red soap" if len(history) % 2 else None for history in histories]

    monkeypatch.setattr(stage, "_teacher", lambda config, *_: teacher if config.embsum.summary_weight else None)


def weights(run: Path) -> dict[str, torch.Tensor]:
    folder = run / "embsum" / "model"
    return {**load_file(folder / "heads.safetensors"), **load_file(folder / "backbone" / "model.safetensors")}


def log_of(run: Path) -> list[dict[str, float]]:
    """Without the clock."""
    found = [json.loads(line) for line in (run / "embsum" / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("wall_s", "valid/seconds")} for line in found]


def test_what_a_training_leaves(
    embsum_run: Callable[[str], Path], embsum_options: Callable[..., list[str]],
    train_embsum_here: Callable[..., bool], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    run = embsum_run("run")
    arguments = embsum_options(run, "--embsum.session_tokens=6", "--embsum.item_tokens=3", "--embsum.max_items=5",
                               "--embsum.summary_share=0.5")  # fmt: skip
    assert train_embsum_here(arguments)
    model = EmbSum.load(run / "embsum" / "model")
    assert (model.config.user_codes, model.config.item_codes) == (3, 2)
    told = json.loads((run / "embsum" / "training.json").read_text())
    assert (told["users"], told["epochs"], told["steps"]) == (120, 2, 8)  # 120 users, 30 a step
    assert told["users_per_second"] > 0
    assert told["peak_rss_mb"] > 0
    # Each of 40 texts has 3 words and a start token, and 3 tokens are kept. A session of two items has 5 places.
    train = np.diff(stage.Dataset.load(run / "data").train_sequences().offsets)
    kept = np.minimum(train, 5)
    assert told["truncated"] == {
        "items": 40, "sessions": int((-(-kept // 2)).sum()), "histories": 120, "items_cut": 40,
        "sessions_cut": int((kept // 2).sum()), "histories_cut": int((train > 5).sum()),
    }  # fmt: skip
    log = log_of(run)
    assert {"nce", "summary", "loss"} <= set(log[0])
    assert log[0]["loss"] == pytest.approx(log[0]["nce"] + 0.05 * log[0]["summary"], rel=1e-5)
    validated = [line["valid/filtered/ndcg@10/embsum"] for line in log if "valid/filtered/ndcg@10/embsum" in line]
    assert told["best"] == {"filtered/ndcg@10/embsum": max(validated)}

    states = json.loads((run / "embsum" / "states.json").read_text())
    assert (states["learnt_with"], states["n_users"], set(states["states"])) == ("start", 50, {"start", "summary"})
    assert states["states"]["start"]["filtered/ndcg@10/embsum"] == max(validated)  # of the best weights, as saved
    best = states["states"][states["best"]]["filtered/ndcg@10/embsum"]
    assert best == max(found["filtered/ndcg@10/embsum"] for found in states["states"].values())

    caplog.set_level("INFO")
    assert not train_embsum_here(arguments)
    assert "embsum: settings and inputs have not changed, skipped" in caplog.text
    assert not train_embsum_here([*arguments, "--embsum.training.checkpoint_minutes=1", "--training.epochs=9"])
    assert stage.stage_key(parse_config(arguments), stage.Run(run), 1) != stage.stage_key(
        parse_config([*arguments, "--embsum.item_codes=1"]), stage.Run(run), 1
    )


def test_it_learns_what_the_texts_say(
    embsum_run: Callable[[str], Path], embsum_options: Callable[..., list[str]], train_embsum_here: Callable[..., bool]
) -> None:
    run = embsum_run("run")
    train_embsum_here(embsum_options(
        run, "--embsum.training.epochs=12", "--embsum.training.learning_rate=0.003", "--embsum.summary_weight=0",
        "--embsum.head_rate=3", "--embsum.training.patience=12", "--embsum.training.validation_users=0",
    ))  # fmt: skip
    told = json.loads((run / "embsum" / "training.json").read_text())
    # The next item is one or two steps on along a ring of 40: chance is .11 (NDCG@10 of a random order).
    assert told["best"]["filtered/ndcg@10/embsum"] > 0.2
    assert set(json.loads((run / "embsum" / "states.json").read_text())["states"]) == {"start"}


@pytest.mark.parametrize("changes", [[], ["--embsum.state=summary", "--embsum.targets=2"]], ids=["start", "summary"])
def test_interrupted(
    changes: list[str], embsum_run: Callable[[str], Path], embsum_options: Callable[..., list[str]],
    train_embsum_here: Callable[..., bool], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole, parts = embsum_run("whole"), embsum_run("parts")
    train_embsum_here(embsum_options(whole, *changes))
    original = EmbSumObjective.forward
    for call in (2, 4):
        calls = 0

        def forward(self: EmbSumObjective, *arguments: object, at: int = call) -> dict[str, torch.Tensor]:
            nonlocal calls
            calls += 1
            if calls == at:
                signal.raise_signal(signal.SIGTERM)
            return original(self, *arguments)  # type: ignore[arg-type]

        with monkeypatch.context() as patch:
            patch.setattr(EmbSumObjective, "forward", forward)
            with pytest.raises(Interrupted, match="the same command goes on"):
                train_embsum_here(embsum_options(parts, *changes))
    train_embsum_here(embsum_options(parts, *changes))
    first, second = weights(whole), weights(parts)
    assert first.keys() == second.keys()
    assert not [name for name in first if not torch.equal(first[name], second[name])]
    assert log_of(whole) == log_of(parts)


def test_gaps_need_times(
    embsum_run: Callable[[str], Path], embsum_options: Callable[..., list[str]], train_embsum_here: Callable[..., bool]
) -> None:
    run = embsum_run("run")
    summary = run / "data" / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "clock": "order"}))
    with pytest.raises(GenRecError, match=r"embsum\.session_gap_hours is 2\.0, but the data has no times"):
        train_embsum_here(embsum_options(run, "--embsum.session_gap_hours=2"))


def test_a_missing_stage_is_named(
    embsum_run: Callable[[str], Path], embsum_options: Callable[..., list[str]], train_embsum_here: Callable[..., bool],
    tmp_path: Path,
) -> None:  # fmt: skip
    with pytest.raises(GenRecError, match="gen-rec prepare"):
        train_embsum_here(embsum_options(tmp_path / "none"))
    arguments = embsum_options(embsum_run("run"), "--summaries.backend=openai", "--summaries.model=x")
    with pytest.raises(GenRecError, match=r"gen-rec summarize --split train --run"):
        train_embsum_here(arguments)
