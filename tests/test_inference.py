"""Evaluate and recommend as stages: protocol files, figures that follow from the lists."""

import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gen_rec.cli import main, parse_config
from gen_rec.config import Config
from gen_rec.data.interactions import Dataset
from gen_rec.errors import DataError, GenRecError
from gen_rec.evaluate import evaluate_model
from gen_rec.evaluation.result import REQUIRED, read_results
from gen_rec.histories import cut_split
from gen_rec.inference import (
    load_recommender,
    run_evaluate,
    run_recommend,
    run_report,
    sample_users,
    settings_of,
)
from gen_rec.ranking.stage import run_rerank
from gen_rec.recommender import Recommender
from gen_rec.run import Run
from gen_rec.stages import run_prepare


@pytest.fixture(scope="module")
def evaluated(trained: tuple[Config, Path]) -> Path:
    run_evaluate(trained[0], "test", "configs/shop.yaml")
    return trained[1]


def test_results_are_the_protocols(trained: tuple[Config, Path], evaluated: Path) -> None:
    results = read_results(evaluated / "metrics.json")  # checks kinds, ranges and the order of cuts
    assert [result["method"] for result in results] == ["eager-behavior", "eager-semantic", "eager-fused"]
    for result in results:
        assert list(result)[: len(REQUIRED)] == list(REQUIRED)
        assert (result["split"], result["n_users"], result["seed"]) == ("test", 120, 0)
        assert (result["config"], result["ties"]) == ("configs/shop.yaml", "input-order")
        assert "run" not in result["settings"]
        assert result["settings"]["data"]["table"]["interactions"] == "interactions.csv"
        assert (result["set"], result["text_encoder"]) == ("interactions.csv", "sentence-t5-base")
        for mode in ("raw", "filtered"):
            low, high = result["intervals"][mode]["ndcg@10"]
            assert low <= result["metrics"][mode]["ndcg@10"] <= high


def strings_in(value: object) -> Iterator[str]:
    """All texts in nested lists and dicts, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from strings_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings_in(inner)


def test_settings_of_a_result_name_no_folder_of_this_machine(
    trained: tuple[Config, Path], evaluated: Path, tmp_path: Path
) -> None:
    for result in read_results(evaluated / "metrics.json"):
        assert not [text for text in strings_in(result["settings"]) if "/" in text and "sentence-t5-base" not in text]
    (tmp_path / "encoder").mkdir()
    config = parse_config([
        f"--data.root={tmp_path}", f"--embeddings.semantic.model={tmp_path / 'encoder'}", f"--run={tmp_path / 'run'}",
        f"--data.table.items={tmp_path / 'items.csv'}",
    ])  # fmt: skip
    settings = settings_of(config)
    assert not [text for text in strings_in(settings) if "/" in text and "{" not in text]
    assert settings["embeddings"]["semantic"]["model"] == "encoder"
    assert settings["data"]["table"]["interactions"] is None
    assert settings["data"]["table"]["items"] == "items.csv"
    assert config.embeddings.semantic.model == str(tmp_path / "encoder")  # the run's own settings stay whole
    assert settings_of(Config())["embeddings"]["semantic"]["model"] == "sentence-transformers/sentence-t5-base"


def test_results_say_in_which_type_products_were_made(
    trained: tuple[Config, Path],
    tmp_path: Path,
    train_here: Callable[[Config], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Path(shutil.copytree(trained[1], tmp_path / "run"))
    config = replace(trained[0], run=str(run))
    config.training = replace(config.training, epochs=1, mixed_precision="auto")
    config.search = replace(config.search, precision="auto")
    monkeypatch.setattr("gen_rec.training.stage.multiplies_bfloat16", lambda: True)
    train_here(config)
    for native, name in ((False, "float32"), (True, "bfloat16")):  # evaluated on another processor than trained
        monkeypatch.setattr("gen_rec.precision.multiplies_bfloat16", lambda native=native: native)
        told = [result["arithmetic"] for result in run_evaluate(config)]
        assert told == [{"training": "bfloat16", "search": name}] * 3
    settings = json.loads((run / "model" / "config.json").read_text())
    assert settings.pop("trained_in") == "bfloat16"
    (run / "model" / "config.json").write_text(json.dumps(settings))  # as older versions saved it
    assert run_evaluate(config)[0]["arithmetic"]["training"] == ""
    monkeypatch.setattr("gen_rec.training.stage.multiplies_bfloat16", lambda: False)
    config.training = replace(config.training, epochs=2)
    train_here(config)
    assert run_evaluate(config)[0]["arithmetic"]["training"] == "float32"


def test_another_catalogue_than_that_of_training(
    trained: tuple[Config, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(trained[1], tmp_path / "run"))
    config = replace(trained[0], run=str(run))
    for path in run.glob("metrics*.json"):
        path.unlink()
    items = pl.read_parquet(run / "data" / "items.parquet")
    message = r"model was trained on other items than .*data holds now; train again: gen-rec train --run"
    for other in (items.reverse(), items.head(-1), items.with_columns(item_id="new " + pl.col("item_id"))):
        other.write_parquet(run / "data" / "items.parquet")
        with pytest.raises(GenRecError, match=message):
            run_evaluate(config)
        with pytest.raises(GenRecError, match=message):
            run_report(config)
        assert main(["recommend", "--run", str(run)]) == 1
        assert "trained on other items" in capsys.readouterr().err
    assert not list(run.glob("metrics*.json"))
    assert not (run / "recommendations.parquet").exists()
    # Histories of one's own are by external id: they need no prepared data, whatever it holds.
    (tmp_path / "histories.txt").write_text("i1 i2\n")
    arguments = ["--run", str(run), "--histories", str(tmp_path / "histories.txt"), "--out", str(tmp_path / "r.csv")]
    assert main(["recommend", *arguments]) == 0
    items.with_columns(title=pl.lit("renamed")).write_parquet(run / "data" / "items.parquet")
    assert len(run_evaluate(config)) == 3  # the same items in the same order


def test_data_that_was_split_anew_is_not_evaluated(trained: tuple[Config, Path], tmp_path: Path) -> None:
    """A target of the new split may have been learnt."""
    run = Path(shutil.copytree(trained[1], tmp_path / "run"))
    config = replace(trained[0], run=str(run), data=replace(trained[0].data, split="leave-last-out"))
    run_prepare(config)
    with pytest.raises(GenRecError, match="trained on other interactions or another split"):
        run_evaluate(config)
    with pytest.raises(GenRecError, match="trained on other interactions or another split"):
        run_rerank(config)


def test_a_result_does_not_name_settings_that_the_model_does_not_have(trained: tuple[Config, Path]) -> None:
    config = replace(trained[0], model=replace(trained[0].model, dropout=0.77))
    with pytest.raises(GenRecError, match=r"trained with other settings \(model\.dropout 0\.\d+, now 0\.77\)"):
        run_evaluate(config)


def test_metrics_follow_from_the_ranked_lists(trained: tuple[Config, Path], evaluated: Path, tmp_path: Path) -> None:
    """From recommend's file to evaluate's figure, through external ids only."""
    config, run = trained
    users = list(Dataset.load(run / "data").user_ids)
    table = pl.read_parquet(run / "data" / "interactions.parquet")
    target = dict(table.filter(pl.col("split") == "test").select("user_id", "item_id").iter_rows())
    results = {result["method"]: result for result in read_results(run / "metrics.json")}
    per_user = pl.read_parquet(run / "users.parquet")
    assert per_user["user_id"].to_list() == users
    assert dict(per_user.select("user_id", "item_id").iter_rows()) == target
    lengths = table.group_by("user_id", maintain_order=True).len()["len"] - 1
    assert per_user["history_length"].to_list() == lengths.to_list()
    for mode, filter_seen in (("raw", False), ("filtered", True)):
        out = tmp_path / f"{mode}.parquet"
        assert run_recommend(config, str(out), k=20, filter_seen=filter_seen) == (120 * 20, 120)
        lists = pl.read_parquet(out)
        assert lists.columns == ["user_id", "rank", "item_id", "score", "behavior_score", "semantic_score"]
        gain, hits = 0.0, 0
        ranks = {}
        for user, rank, item in lists.select("user_id", "rank", "item_id").iter_rows():
            if target[user] == item and rank <= 10:
                gain, hits = gain + 1 / math.log2(1 + rank), hits + 1
            if target[user] == item:
                ranks[user] = rank
        metrics = results["eager-fused"]["metrics"][mode]
        assert metrics["ndcg@10"] == pytest.approx(gain / 120, abs=1e-12)
        assert metrics["recall@10"] == pytest.approx(hits / 120, abs=1e-12)
        listed = dict(per_user.select("user_id", f"eager-fused/{mode}").iter_rows())
        assert {user: rank for user, rank in listed.items() if rank is not None and rank <= 20} == ranks


def test_valid_does_not_touch_the_test_files(trained: tuple[Config, Path], evaluated: Path) -> None:
    names = ("metrics.json", "users.parquet")
    before = {name: (evaluated / name).read_bytes() for name in names}
    results = run_evaluate(trained[0], "valid")
    assert {name: (evaluated / name).read_bytes() for name in names} == before
    assert {result["split"] for result in results} == {"valid"}
    assert read_results(evaluated / "metrics_valid.json") == results
    assert len(pl.read_parquet(evaluated / "users_valid.parquet")) == 120


def test_training_selected_by_the_figure_that_evaluate_gives(trained: tuple[Config, Path]) -> None:
    config, run = trained
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    best = max(line["valid/selected"] for line in lines if "valid/selected" in line)
    (fused,) = (r for r in run_evaluate(config, "valid") if r["method"] == "eager-fused")
    assert fused["metrics"]["filtered"]["ndcg@10"] == pytest.approx(best, abs=1e-9)


def test_shares_of_processes_make_up_the_whole(trained: tuple[Config, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    config, run = trained
    model, dataset = Recommender.from_pretrained(run).model, Dataset.load(run / "data")
    whole = evaluate_model(model, dataset, "valid", config.search, config.evaluation, max_users=61)
    states = []
    monkeypatch.setattr("gen_rec.evaluate.gather_object", lambda mine: states.append(mine[0]) or [])
    with pytest.raises(ValueError, match="no ranked list"):  # the first process alone has half of the cases
        evaluate_model(model, dataset, "valid", config.search, config.evaluation, 0, 0, 2)
    states.clear()
    for process in range(3):
        evaluate_model(model, dataset, "valid", config.search, config.evaluation, 61, process, 3)
    assert sorted(np.concatenate([state["rows"] for state in states])) == whole.rows.tolist()
    monkeypatch.setattr("gen_rec.evaluate.gather_object", lambda _: states)
    for process in range(3):
        found = evaluate_model(model, dataset, "valid", config.search, config.evaluation, 61, process, 3)
        assert found.rows.tolist() == whole.rows.tolist()
        for name, method in whole.methods.items():
            assert found.methods[name].metrics == method.metrics
            assert found.methods[name].beyond == method.beyond


def test_a_split_without_cases(trained: tuple[Config, Path], fresh_run: Callable[[str], Path], tmp_path: Path) -> None:
    config, run = trained
    data = fresh_run("empty") / "data"
    table = pl.read_parquet(data / "interactions.parquet").with_columns(split=pl.lit("train"))
    table.write_parquet(data / "interactions.parquet")
    dataset = Dataset.load(data)
    with pytest.raises(DataError, match="the test split has no interaction"):
        cut_split(dataset, "test", tmp_path / "cut", 10)
    assert not (tmp_path / "cut").exists()
    model = Recommender.from_pretrained(run).model
    with pytest.raises(DataError, match="the valid split has no interaction"):
        evaluate_model(model, dataset, "valid", config.search, config.evaluation)


def test_users_of_the_report(trained: tuple[Config, Path]) -> None:
    config, run = trained
    recommender, dataset = load_recommender(config, Run(run)), Dataset.load(run / "data")
    users = sample_users(recommender, dataset, "test", seed=0)
    assert len(users) == 10
    cases = dataset.cases("test")
    histories = {user: list(dataset.item_ids[cases[i]]) for i, user in enumerate(dataset.user_ids[cases.user])}
    titles = dict(recommender.items.select("item_id", "title").iter_rows())
    for user in users:
        history = histories[user["user_id"]]
        assert user["history"] == [titles[item] for item in history]
        best = recommender.recommend([history], k=20)
        shown = best["title"].to_list()
        assert user["lists"]["eager-fused"] == shown[:5]
        place = shown.index(user["target"]) + 1 if user["target"] in shown else None
        assert user["hit"]["eager-fused"] == place
    page = run_report(config).read_text()
    assert users[0]["target"] in page
