"""Users without a history: the figures are of the lists that they are given."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gen_rec.config import Config
from gen_rec.data.interactions import Dataset
from gen_rec.evaluate import evaluate_model
from gen_rec.evaluation.metrics import MISS, RankedLists
from gen_rec.inference import load_recommender, sample_users
from gen_rec.popular import Popular
from gen_rec.ranking import stage
from gen_rec.ranking.config import RerankConfig
from gen_rec.ranking.fitting import gather_lesson
from gen_rec.run import Run

NEW = 40
"""Users whose first interaction is the test target."""


@pytest.fixture(scope="module")
def strangers(trained: tuple[Config, Path], tmp_path_factory: pytest.TempPathFactory) -> Config:
    """A trained run in which 40 of the 120 users came after the training window."""
    config, run = trained
    here = Path(shutil.copytree(run, tmp_path_factory.mktemp("strangers") / "run"))
    path = here / "data" / "interactions.parquet"
    table = pl.read_parquet(path)
    late = pl.when(pl.col("user") < NEW).then(pl.lit("test")).otherwise(pl.col("split").cast(pl.String))
    table.with_columns(late.cast(table.schema["split"]).alias("split")).write_parquet(path)
    small = RerankConfig(candidates=8, graph_candidates=6, rounds=10, negatives=0, folds=3, embsum="off", worth=False)
    return replace(config, run=str(here), rerank=small)


def test_by_hand() -> None:
    popular = Popular.of(np.array([1, 4, 0, 4]))
    assert popular.items.tolist() == [1, 3, 0, 2]
    np.testing.assert_allclose(popular.scores, np.log([5 / 13, 5 / 13, 2 / 13, 1 / 13]), rtol=1e-6)
    assert popular.top(6).items.tolist() == [[1, 3, 0, 2, -1, -1]]
    given = RankedLists(np.array([[2, 0], [2, 0]]), np.array([[0.5, 0.25], [0.5, 0.25]], dtype=np.float32))
    filled = popular.fill({"m": given}, np.array([False, True]))["m"]
    assert filled.items.tolist() == [[2, 0], [1, 3]]
    assert filled.scores[0].tolist() == [0.5, 0.25]
    assert given.items.tolist() == [[2, 0], [2, 0]]  # the caller's are not changed


def test_evaluation_scores_what_is_recommended(strangers: Config) -> None:
    recommender, dataset = load_recommender(strangers, Run(strangers.run)), Dataset.load(Run(strangers.run).data)
    cases = dataset.cases("test")
    assert (cases.lengths == 0).sum() == NEW
    found = evaluate_model(recommender.model, dataset, "test", strangers.search, strangers.evaluation)
    counts = recommender.items["train_count"].to_numpy()
    assert (counts != dataset.train_counts()).any()  # else both would agree whoever is asked
    recommender.items = recommender.items.with_columns(pl.Series("train_count", dataset.train_counts()))
    best = recommender.recommend([[]], k=21).select("item_id", "score").rows()
    for row in range(NEW):
        target = dataset.item_ids[cases.target[row]]
        (score,) = [value for item, value in best if item == target] or [None]
        rank = MISS if score is None else sum(value >= score for _, value in best)  # behind its equals, as everywhere
        for method in found.methods.values():
            assert [method.ranks[mode][row] for mode in ("raw", "filtered")] == [rank, rank]


def test_the_last_ranking_leaves_them_alone(strangers: Config) -> None:
    run = Run(strangers.run)
    recommender, dataset = load_recommender(strangers, run), Dataset.load(run.data)
    recommender.trained_on = dataset.fingerprint()
    reranker = stage.fit_rerank(strangers, recommender, dataset)
    cases = dataset.cases("test")
    gatherer = reranker.gatherer(recommender.model, recommender.search)
    popular = Popular.of(dataset.train_counts())
    ((users, lists),) = stage.rerank_cases(reranker, gatherer, cases, np.arange(len(cases)), 5, popular)
    assert users.tolist() == list(range(120))
    assert (lists.items[:NEW] == popular.top(5).items).all()
    assert np.isnan(lists.values[:NEW]).all()
    assert not np.isnan(lists.parts[NEW:]).any()
    assert gather_lesson(gatherer, cases, 0, 0).n_users == 120 - NEW
    for user in sample_users(recommender, dataset, "test", seed=0):
        if not user["history"]:
            titles = [dataset.titles[item] for item in popular.top(5).items[0]]
            assert set(map(tuple, user["lists"].values())) == {tuple(titles)}
