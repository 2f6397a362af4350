"""The stage on a small trained run: what it writes, what it skips, and that its parts belong together."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tiny_embsum import all_knowing

from gen_rec.config import Config
from gen_rec.data.interactions import Dataset
from gen_rec.errors import DataError, GenRecError
from gen_rec.evaluation.lists import read_ranked_lists
from gen_rec.evaluation.metrics import target_ranks
from gen_rec.inference import load_with_data, run_recommend
from gen_rec.ranking import stage
from gen_rec.ranking.config import RerankConfig
from gen_rec.ranking.fitting import gather_lesson
from gen_rec.ranking.pool import Gatherer
from gen_rec.ranking.reranker import Reranker
from gen_rec.ranking.stage import fit_rerank, report_gain, run_rerank
from gen_rec.recommender import Recommender
from gen_rec.retrieval import search_cases, take
from gen_rec.run import Run

SMALL = RerankConfig(candidates=8, graph_candidates=6, rounds=10, negatives=0, folds=3, batch_users=50, embsum="off")


@pytest.fixture(scope="module")
def ranked(trained: tuple[Config, Path], tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A run of its own with a fitted last ranking and the test split's lists."""
    config, run = trained
    here = Path(shutil.copytree(run, tmp_path_factory.mktemp("ranked") / "run"))
    config = replace(config, run=str(here), rerank=SMALL)
    assert run_rerank(config, "test", k=5) == (600, 120)
    return config


def test_lists_are_the_protocols_with_every_part_of_the_score(ranked: Config) -> None:
    run = Run(ranked.run)
    frame = read_ranked_lists(run.reranked)
    report = json.loads((run.rerank / "report.json").read_text())
    names = report["features"]
    assert names == [name for name in SMALL.features if name != "embsum"]
    assert report["left_out"] == ["embsum"]
    parts = frame.select(f"part_{name}" for name in names).to_numpy().sum(1)
    np.testing.assert_allclose(parts, frame["score"], atol=1e-4)
    np.testing.assert_array_equal(frame["behavior_score"], frame["value_behavior"])
    dataset = Dataset.load(run.data)
    cases = dataset.cases("test")
    history = {dataset.user_ids[user]: set(dataset.item_ids[cases[row]]) for row, user in enumerate(cases.user)}
    for (user,), lists in frame.group_by(["user_id"]):
        assert lists["rank"].to_list() == [1, 2, 3, 4, 5]
        assert lists["score"].is_sorted(descending=True)
        assert not history[user] & set(lists["item_id"])


def test_the_report_tells_what_was_gained_and_by_what(ranked: Config) -> None:
    report = json.loads((Run(ranked.run).rerank / "report.json").read_text())
    valid = report["validation"]
    assert valid["users"] == 120
    assert 0 < valid["users_with_target"] <= 120
    for mode in ("raw", "filtered"):
        before, after = (valid[when][mode]["ndcg@10"] for when in ("before", "after"))
        gain = valid["gain"][mode]
        assert gain["difference"] == pytest.approx(after - before)
        assert gain["relative"] == pytest.approx(after / before - 1)
        assert gain["low"] <= gain["difference"] <= gain["high"]
    assert set(report["worth"]) == set(report["features"]) == {*report["importance"], "repeat"}
    parts = {"graph", "candidates and features", "fit", "cross-fit linear", "cross-fit boosted", "worth"}
    assert parts == set(report["seconds"])


def test_the_figures_before_are_those_of_the_search(ranked: Config) -> None:
    recommender, dataset = load_with_data(ranked, Run(ranked.run))
    reranker = Reranker.load(Run(ranked.run).rerank)
    cases = dataset.cases("valid")
    gatherer = Gatherer(reranker.names, recommender.model, ranked.search, reranker.graph, reranker.facts, SMALL)
    lesson = gather_lesson(gatherer, cases, 0, 0)
    for rows, *found in search_cases(recommender.model, cases, np.arange(len(cases)), 8, ranked.search):
        for mode, rankings in zip(("raw", "filtered"), found, strict=True):
            assert rankings.fused is not None
            items, scores = rankings.fused.items.numpy(), rankings.fused.scores.numpy()
            np.testing.assert_array_equal(lesson.before[mode][rows], target_ranks(items, scores, cases.target[rows]))


def test_what_is_done_is_not_done_again_and_new_settings_are(
    ranked: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = []
    monkeypatch.setattr(stage, "fit_blend", lambda *_: calls.append(1) or pytest.fail("fitted again"))
    run_rerank(ranked, "valid", out=tmp_path / "again.parquet")
    assert not calls
    with pytest.raises(pytest.fail.Exception):
        run_rerank(replace(ranked, rerank=replace(SMALL, rounds=11)), "valid", out=tmp_path / "other.parquet")
    assert calls


def test_the_folder_ranks_any_history(trained: tuple[Config, Path], ranked: Config) -> None:
    """What ``Recommender.recommend(..., rerank=True)`` calls gives what the stage wrote."""
    run = Run(ranked.run)
    recommender, dataset = load_with_data(ranked, run)
    cases = dataset.cases("test")
    rows = np.arange(7)
    reranker = Reranker.load(run.rerank)
    found = reranker.rerank(recommender.model, take(cases, rows), 5, ranked.search)
    written = read_ranked_lists(run.reranked)
    for row in rows:
        mine = written.filter(pl.col("user_id") == dataset.user_ids[cases.user[row]])
        assert mine["item_id"].to_list() == dataset.item_ids[found.items[row]].tolist()
        np.testing.assert_allclose(mine["score"], found.scores[row], atol=1e-4)
    raw = reranker.rerank(recommender.model, take(cases, rows), 8, ranked.search, filter_seen=False)
    for row in rows:  # seen items join, the others keep their order
        unseen = [item for item in raw.items[row] if item >= 0 and item not in cases[row]]
        assert unseen[:5] == found.items[row].tolist()[: len(unseen)]


def test_dropout_has_no_part_in_the_last_ranking(ranked: Config) -> None:
    recommender, dataset = load_with_data(ranked, Run(ranked.run))
    reranker, some = Reranker.load(Run(ranked.run).rerank), take(dataset.cases("test"), np.arange(5))
    still = reranker.rerank(recommender.model, some, 5, ranked.search)
    recommender.model.train()
    again = reranker.rerank(recommender.model, some, 5, ranked.search)
    np.testing.assert_array_equal(still.scores, again.scores)
    assert recommender.model.training


def test_saved_again_and_saved_elsewhere(ranked: Config, tmp_path: Path) -> None:
    """The last ranking goes with its model, is replaced as a whole, and is refused with other weights."""
    histories = [["i3", "i4", "i5"]]
    recommender = Recommender.from_pretrained(ranked.run)
    expected = recommender.recommend(histories, k=4, rerank=True)
    for _ in range(2):
        recommender.save_pretrained(tmp_path / "saved")
    again = Recommender.from_pretrained(tmp_path / "saved")
    assert again.recommend(histories, k=4, rerank=True).equals(expected)
    again.save_pretrained(tmp_path / "saved")  # where it was loaded from
    assert Recommender.from_pretrained(tmp_path / "saved").recommend(histories, k=4, rerank=True).equals(expected)

    with torch.no_grad():
        next(again.model.parameters()).add_(0.1)
    again.save_pretrained(tmp_path / "changed")
    with pytest.raises(GenRecError, match="fitted on another model"):
        Recommender.from_pretrained(tmp_path / "changed").recommend(histories, k=4, rerank=True)

    without = Recommender.from_pretrained(Run(ranked.run).model)
    assert not without.second.has_ranking
    without.save_pretrained(tmp_path / "saved")
    assert not Recommender.from_pretrained(tmp_path / "saved").second.has_ranking


def test_a_feature_beside_repeat_has_no_worth_to_measure(ranked: Config, tmp_path: Path) -> None:
    here = shutil.copytree(ranked.run, tmp_path / "run")
    config = replace(ranked, run=str(here), rerank=replace(SMALL, features=["graph", "repeat"]))
    fit_rerank(config, *load_with_data(config, Run(here)))
    assert list(json.loads((Run(here).rerank / "report.json").read_text())["worth"]) == ["repeat"]


def test_what_cannot_be_read_or_written_is_said_before_anything_is_fitted(
    ranked: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "fit_rerank", lambda *_: pytest.fail("fitted first"))
    with pytest.raises(DataError, match=r"missing\.parquet: not a Parquet file that can be read"):
        run_rerank(ranked, "test", recs=str(tmp_path / "missing.parquet"))
    (tmp_path / "text.parquet").write_text("user_id,rank\n")
    with pytest.raises(DataError, match=r"text\.parquet: not a Parquet file that can be read"):
        run_rerank(ranked, "test", recs=str(tmp_path / "text.parquet"))
    with pytest.raises(GenRecError, match=r"name a file that ends in \.parquet"):
        run_rerank(ranked, "test", out=str(tmp_path / "lists.csv"))


def test_given_lists_keep_their_users_and_items(ranked: Config, tmp_path: Path) -> None:
    recs, out = tmp_path / "recs.parquet", tmp_path / "new.parquet"
    run_recommend(ranked, str(recs), k=6)
    frame = pl.read_parquet(recs).filter(pl.col("user_id").is_in(["u3", "u11", "u4"]))
    frame.write_parquet(recs)
    assert run_rerank(ranked, "test", recs=str(recs), out=out, k=6) == (18, 3)
    new = pl.read_parquet(out)
    assert (
        new["user_id"].unique(maintain_order=True).to_list() == frame["user_id"].unique(maintain_order=True).to_list()
    )
    for user in ("u3", "u11", "u4"):
        mine = pl.col("user_id") == user
        assert set(new.filter(mine)["item_id"]) == set(frame.filter(mine)["item_id"])
    frame.with_columns(user_id=pl.col("user_id").replace("u3", "nobody")).write_parquet(recs)
    with pytest.raises(DataError, match=r"recs\.parquet: 1 of 3 users have no case in the test split .*'nobody'"):
        run_rerank(ranked, "test", recs=str(recs), out=out)
    frame.with_columns(item_id=pl.lit("nothing") + pl.col("rank").cast(pl.String)).write_parquet(recs)
    with pytest.raises(DataError, match=r"recs\.parquet: 18 listed items are not in the catalogue"):
        run_rerank(ranked, "test", recs=str(recs), out=out)


def test_embsum_is_a_feature_where_it_is_encoded(
    ranked: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A fake that knows each validation target: it must reach the right pairs, and the blend must follow it."""
    here = shutil.copytree(ranked.run, tmp_path / "run")
    config = replace(ranked, run=str(here), rerank=replace(SMALL, embsum="auto", worth=False))
    recommender, dataset = load_with_data(config, Run(here))

    monkeypatch.setattr(stage, "wants_embsum", lambda *_: True)
    monkeypatch.setattr(stage, "_encoded", lambda _: [])
    monkeypatch.setattr(stage, "embsum_scorer", all_knowing(dataset))
    run_rerank(config, "test", k=3)
    first = pl.read_parquet(Run(here).reranked).filter(pl.col("rank") == 1)
    cases = dataset.cases("test")
    target = {
        dataset.user_ids[user]: dataset.item_ids[item] for user, item in zip(cases.user, cases.target, strict=True)
    }
    hit = [target[user] == item for user, item in first.select("user_id", "item_id").rows()]
    knows = (first["value_embsum"] == 1.0).to_list()
    assert hit == knows
    assert np.mean(knows) > 0.3
    reranker = fit_rerank(config, recommender, dataset)
    with pytest.raises(GenRecError, match="fitted with EmbSum's score and cannot rank without it"):
        reranker.rerank(recommender.model, take(cases, np.arange(2)), 3, config.search)


def test_embsum_that_is_asked_for_must_be_encoded(ranked: Config) -> None:
    with pytest.raises(GenRecError, match="embsum encode"):
        fit_rerank(replace(ranked, rerank=replace(SMALL, embsum="on")), *load_with_data(ranked, Run(ranked.run)))


def test_beams_that_prune_nothing_give_the_exact_searchs_lists(ranked: Config) -> None:
    recommender, dataset = load_with_data(ranked, Run(ranked.run))
    reranker = Reranker.load(Run(ranked.run).rerank)
    reranker = replace(reranker, config=replace(SMALL, candidates=40))  # the whole catalogue
    some = take(dataset.cases("test"), np.arange(20))
    exact = reranker.rerank(recommender.model, some, 5, ranked.search)
    beams = reranker.rerank(recommender.model, some, 5, replace(ranked.search, method="beam", beams=40))
    np.testing.assert_array_equal(exact.items, beams.items)
    np.testing.assert_allclose(exact.scores, beams.scores, atol=1e-3)


@pytest.mark.parametrize(("relative", "level"), [(0.125, "INFO"), (-0.023, "WARNING")])
def test_a_last_ranking_that_loses_is_said_to_lose(relative: float, level: str, caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO", logger="gen_rec"):
        report_gain({"users": 671, "gain": {"filtered": {"relative": relative}}})
    (record,) = caplog.records
    assert record.levelname == level
    assert f"{100 * relative:+.1f} % on the search alone" in record.getMessage()
    assert ("recommend without it" in record.getMessage()) == (relative < 0)


def test_a_lost_file_is_made_again_without_being_asked_to(ranked: Config, tmp_path: Path) -> None:
    own = replace(ranked, run=str(shutil.copytree(ranked.run, tmp_path / "run")))
    folder = Run(own.run).rerank
    kind = json.loads((folder / "blend.json").read_text())["kind"]
    names = [path.name for path in Reranker.files(folder)]
    assert ("blend.txt" in names) == (kind == "boosted")
    assert {path.name for path in folder.iterdir()} == {*names, "report.json"}
    for name in names:
        before = (folder / name).read_bytes()
        (folder / name).unlink()
        assert run_rerank(own, "test", out=tmp_path / "lists.parquet", k=5) == (600, 120)
        assert (folder / name).read_bytes() == before


def test_longer_lists_than_there_were_candidates(ranked: Config, tmp_path: Path) -> None:
    """The catalogue has 40 items, the blend was fitted on 8 to 14 candidates."""
    recommender, dataset = load_with_data(ranked, Run(ranked.run))
    cases = dataset.cases("test")
    names = [[str(item) for item in dataset.item_ids[cases[row]]] for row in range(6)]
    found = recommender.recommend(names, k=30, rerank=True)
    for row, history in enumerate(names):
        left = 40 - len(set(history))
        assert (found["user_id"] == str(row)).sum() == min(30, left)
    assert run_rerank(ranked, "test", out=tmp_path / "long.parquet", k=25) == (25 * 120, 120)
