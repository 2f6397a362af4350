"""A whole run of a rival on a small shop: what it writes, and that it goes on where it was stopped."""

import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.torch import load_file

from benchmarks.accuracy.home import Home
from benchmarks.accuracy.ranks import keep_ranks, read_ranks
from benchmarks.accuracy.rivals import __main__ as command
from benchmarks.accuracy.rivals import run as module
from benchmarks.accuracy.rivals.compare import compare, keep
from benchmarks.accuracy.rivals.training import NextItemObjective
from benchmarks.paired_table import render_pairs
from gen_rec import stages
from gen_rec.errors import DataError
from gen_rec.evaluation import MISS, paired_bootstrap, read_results, retrieval_metrics

TINY = ("hidden_size=8", "inner_size=16", "num_layers=1", "max_history=8", "training.epochs=3",
        "training.batch_size=32", "training.learning_rate=0.02", "dropout=0.2")  # fmt: skip
Start = Callable[..., int]


@pytest.fixture
def start(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """``start("ease", "--seed", "1")``: the command, with files under ``tmp_path``; one trial of a small setting."""
    monkeypatch.setattr(command, "run", partial(module.run, home=Home(tmp_path)))
    config = tmp_path / "shop.yaml"
    table = {"interactions": str(shop / "interactions.csv"), "items": str(shop / "items.csv")}
    config.write_text(json.dumps({"data": {"table": table}, "evaluation": {"resamples": 20}}))

    def run(method: str, *more: str, folder: str = "run") -> int:
        own = ["--config", str(config), "--run", str(tmp_path / folder), "--training.cpu=true"]
        if method in ("sasrec-ce", "bsarec"):
            own += [word for value in TINY for word in ("--trial", value)]
        return command.main([method, *own, *more])

    return run


def only(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


@pytest.mark.parametrize("method", ["popularity", "ease", "item-graph", "sasrec-ce", "bsarec"])
def test_what_a_run_writes(method: str, start: Start, tmp_path: Path) -> None:
    assert start(method, "--seed=3") == 0
    file = only(tmp_path / "results")
    assert file.name == f"interactions.csv-{method}-seed3.json"
    (result,) = read_results(file)  # checked as the protocol says
    assert (result["method"], result["seed"], result["split"], result["n_users"]) == (method, 3, "test", 120)
    assert result["text_encoder"] == "none"
    assert str(tmp_path) not in file.read_text().replace(result["config"], "")

    evidence = json.loads(only(tmp_path / "evidence").read_text())
    figures = [trial["validation"]["filtered"]["ndcg@10"] for trial in evidence["trials"]]
    assert evidence["budget"] == len(figures) == int(np.prod([len(values) for values in evidence["grid"].values()]))
    assert evidence["chosen"]["validation"]["filtered"]["ndcg@10"] == max(figures)
    assert result["settings"]["rival"] == evidence["chosen"]["settings"]

    users = pl.read_parquet(tmp_path / "run" / "users.parquet")
    assert users["user_id"].n_unique() == 120
    for mode in ("raw", "filtered"):
        ranks = users[f"{method}/{mode}"].fill_null(MISS).to_numpy()
        assert retrieval_metrics(ranks) == pytest.approx(result["metrics"][mode])


def test_a_model_learns_the_ring(start: Start, tmp_path: Path) -> None:
    """Its next item is one of two in nearly every step, so the worst of both ways to rank finds it."""
    assert start("sasrec-ce", "--trial", "training.epochs=25") == 0
    learnt = read_results(only(tmp_path / "results"))[0]["metrics"]["filtered"]["recall@5"]
    assert learnt > 0.8
    assert start("bsarec", "--trial", "training.epochs=25", folder="other") == 0
    (file,) = (tmp_path / "results").glob("*bsarec*")
    assert read_results(file)[0]["metrics"]["filtered"]["recall@5"] > 0.8


def test_interrupted_and_gone_on_with(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start("bsarec", folder="whole") == 0
    (whole,) = (tmp_path / "whole" / "trials").glob("*/model.safetensors")
    before = load_file(whole)
    original, calls = NextItemObjective.forward, 0

    def forward(self: NextItemObjective, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 26:  # in the second of three epochs
            signal.raise_signal(signal.SIGTERM)
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(NextItemObjective, "forward", forward)
        assert start("bsarec", folder="parts") == 128 + signal.SIGTERM
    assert "the same command goes on" in capsys.readouterr().err
    assert not list((tmp_path / "parts" / "trials").glob("*/trial.json"))
    assert start("bsarec", folder="parts") == 0
    (parts,) = (tmp_path / "parts" / "trials").glob("*/model.safetensors")
    after = load_file(parts)
    assert before.keys() == after.keys()
    assert all(before[name].equal(after[name]) for name in before)


def test_settings_that_another_seed_chose(start: Start, tmp_path: Path) -> None:
    assert start("item-graph") == 0
    first = json.loads(only(tmp_path / "evidence").read_text())
    assert start("item-graph", "--seed=1", "--chosen", str(only(tmp_path / "evidence")), folder="second") == 0
    second = json.loads((tmp_path / "evidence" / "interactions.csv-item-graph-seed1.json").read_text())
    assert first["budget"] > 1
    assert second["budget"] == 1
    assert second["chosen"]["settings"] == first["chosen"]["settings"]
    assert second["chosen"]["validation"] == first["chosen"]["validation"]


def test_two_methods_on_the_same_users(start: Start, tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert start("popularity", folder="a") == 0
    assert start("item-graph", folder="b") == 0
    names = [f"interactions.csv-{method}-seed0" for method in ("popularity", "item-graph")]
    a, b = (read_ranks(home.ranks(name)) for name in names)
    found = compare(b, a)
    first, second = (pl.read_parquet(tmp_path / folder / "users.parquet").sort("user_id") for folder in "ba")
    assert first["user_id"].equals(second["user_id"])
    for mode in ("raw", "filtered"):
        ranks = first[f"item-graph/{mode}"].fill_null(MISS), second[f"popularity/{mode}"].fill_null(MISS)
        assert found[mode] == paired_bootstrap(*(each.to_numpy() for each in ranks))
        assert found[mode]["ndcg@10"]["low"] > 0  # on a ring neighbours say more than popularity
        assert retrieval_metrics(a.modes[mode]) == pytest.approx(a.of["metrics"][mode])
    kept = keep(b, a, found, home)
    assert kept.name == "interactions.csv-item-graph-seed0-vs-interactions.csv-popularity-seed0.json"
    assert json.loads(kept.read_text())["test"] == found
    row = render_pairs(kept.parent).splitlines()[-1]
    assert row.startswith("| interactions.csv | item-graph, seed 0 | popularity, seed 0 | +.")
    assert f"({found['filtered']['ndcg@10']['low']:+.4f}".replace("0.", ".", 1) in row

    assert start("popularity", "--data.tie_order=shuffled", folder="c") == 0
    assert start("item-graph", "--data.tie_order=shuffled", "--seed=1", folder="d") == 0
    names = [f"interactions.csv-shuffled-{name}" for name in ("popularity-seed0", "item-graph-seed1")]
    other, another = (read_ranks(home.ranks(name)) for name in names)
    again = keep(another, other, compare(another, other), home)
    assert again != kept  # a comparison of other seeds, or over other ties, takes the place of none
    assert "item-graph, ties shuffled, seed 1 | popularity, ties shuffled, seed 0" in render_pairs(kept.parent)


def test_ranks_that_cannot_be_compared(start: Start, tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert start("popularity", folder="a") == 0
    path = home.ranks("interactions.csv-popularity-seed0")
    whole = read_ranks(path)
    with pytest.raises(DataError, match="has the methods popularity"):
        read_ranks(f"{path}:ease")
    with pytest.raises(DataError, match="no such file"):
        read_ranks(path.with_name("other.parquet"))
    users = tmp_path / "a" / "users.parquet"
    pl.read_parquet(users).head(50).write_parquet(users)
    keep_ranks(users, {"popularity": "popularity"}, path)
    with pytest.raises(DataError, match="not of the same users"):
        compare(whole, read_ranks(path))
    home.result("interactions.csv-popularity-seed0").unlink()
    with pytest.raises(DataError, match="has no result of popularity"):
        read_ranks(path)


def test_another_search_does_not_take_the_place_of_the_first(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert start("item-graph") == 0
    assert start("item-graph") == 0  # the same one may
    assert start("item-graph", "--trial", "degree_power=0.1") == 1
    assert "is of another search" in capsys.readouterr().err


def test_shuffled_ties_are_another_file(start: Start, tmp_path: Path) -> None:
    assert start("popularity", "--data.tie_order=shuffled") == 0
    file = only(tmp_path / "results")
    assert file.name == "interactions.csv-shuffled-popularity-seed0.json"
    assert read_results(file)[0]["ties"] == "shuffled"


def test_redrawn_ties_are_another_method_over_the_same_targets(start: Start, tmp_path: Path) -> None:
    assert start("popularity", "--data.tie_order=redrawn") == 0
    file = only(tmp_path / "results")
    assert file.name == "interactions.csv-shuffled-popularity+redrawn-ties-seed0.json"
    (result,) = read_results(file)
    assert (result["ties"], result["method"]) == ("shuffled", "popularity/redrawn-ties")


def test_text_similarity_reads_the_runs_texts(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def vectors(texts: list[str], *_: object, **__: object) -> np.ndarray:
        return np.random.default_rng(0).standard_normal((len(texts), 6)).astype(np.float32)

    monkeypatch.setattr(stages, "encode_texts", vectors)
    more = ("--embeddings.semantic.model=packaged:all-MiniLM-L6-v2",)
    assert start("item-graph-text", *more) == 0
    assert read_results(only(tmp_path / "results"))[0]["text_encoder"] == "all-MiniLM-L6-v2"
    assert not (tmp_path / "run" / "embeddings" / "behavior.safetensors").exists()
    monkeypatch.setattr(stages, "encode_texts", lambda *_, **__: pytest.fail("encoded twice"))
    assert start("item-graph-text", *more) == 0


def test_what_the_command_refuses(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["ease"])
    assert "give --config FILE" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["nonsense", "--config", "x.yaml"])
    assert start("ease", "--trial", "regularization=-1") == 1
    assert "regularization must be positive" in capsys.readouterr().err
    assert start("ease", "--grid", "nowhere.yaml") == 1
    assert "nowhere.yaml: cannot be read" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        start("ease", "--training.epochs=3")
    assert "no option of a rival; give its settings as --trial" in capsys.readouterr().err
