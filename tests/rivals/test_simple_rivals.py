"""Popularity, EASE and the item graph, and how their scores become lists."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.accuracy.rivals.ease import Ease
from benchmarks.accuracy.rivals.evaluate import both_ways, evaluate
from benchmarks.accuracy.rivals.item_graph import GraphScorer, TextGraphScorer, TextGraphSettings, text_scores
from benchmarks.accuracy.rivals.method import Job
from benchmarks.accuracy.rivals.popularity import PopularitySettings
from benchmarks.accuracy.rivals.popularity import fit as fit_popularity
from gen_rec.config import Config
from gen_rec.data.interactions import Dataset, Sequences
from gen_rec.evaluation.config import EvaluationConfig
from gen_rec.ranking.config import GraphConfig
from gen_rec.ranking.features import GRAPH_SCALE, text_features
from gen_rec.ranking.item_graph import ItemGraph
from gen_rec.run import Run

Make = Callable[[list[list[int]]], Sequences]
LISTS = [[0, 1, 2], [0, 1], [0, 3, 3], [2, 0], [1, 4, 0], [5]]


def test_popularity_is_the_order_of_training_counts(small: Dataset, sequences: Make, tmp_path: Path) -> None:
    scorer = fit_popularity(Job(small, Config(), Run(tmp_path)), PopularitySettings(), tmp_path, "").scorer
    scores = scorer.scores(sequences([[1], [2, 3], []]))
    counts = np.zeros(15)
    for user in range(small.n_users):
        for item in small.item_index[small.offsets[user] : small.offsets[user + 1] - 2]:  # without the held-out two
            counts[item] += 1
    assert scores.numpy() == pytest.approx(np.tile(counts, (3, 1)))
    raw, filtered = both_ways(scores, sequences([[1], [2, 3], []]), 15)
    order = sorted(range(15), key=lambda item: (-counts[item], item))
    assert raw.items.tolist() == [order] * 3
    assert filtered.items[1].tolist() == [item for item in order if item not in (2, 3)] + [-1, -1]


def test_ease_is_the_closed_form(sequences: Make) -> None:
    x = np.zeros((6, 7))  # item 6 was never taken
    for user, items in enumerate(LISTS):
        x[user, items] = 1.0
    p = np.linalg.inv(x.T @ x + 2.5 * np.eye(7))
    expected = np.eye(7) - p @ np.diag(1 / np.diag(p))
    found = Ease.solve(sequences(LISTS), 7, 2.5)
    assert found.weights.numpy() == pytest.approx(expected, abs=1e-6)
    assert found.weights.diagonal().tolist() == [0.0] * 7
    scores = found.scores(sequences([[0, 3, 3], [], [4]])).numpy()  # an item counts once, however often it was taken
    assert scores == pytest.approx(np.stack([expected[0] + expected[3], np.zeros(7), expected[4]]), abs=1e-6)


def test_graph_recommends_only_along_edges(sequences: Make) -> None:
    graph = ItemGraph.build(sequences(LISTS), 7, GraphConfig())
    scores = GraphScorer(graph).scores(sequences([[4], [5]]))
    assert {i for i, score in enumerate(scores[0].tolist()) if score > -np.inf} == {0, 1}  # those beside 4
    assert bool((scores[1] == -np.inf).all())


@pytest.mark.parametrize("similarity", ["max", "mean"])
def test_text_similarity_is_that_of_the_last_ranking(similarity: str, sequences: Make) -> None:
    """Its features are computed for candidates; here every item is one."""
    rng = np.random.default_rng(0)
    text = rng.standard_normal((9, 5)).astype(np.float32)
    text /= np.linalg.norm(text, axis=1, keepdims=True)
    histories = sequences([[1, 2, 3], [4, 4, 5], [6], [7, 7], list(range(9)) * 7])  # the last is cut at 50
    every = np.tile(np.arange(9), (5, 1))
    expected = np.nan_to_num(text_features(text, every, histories, 0.7)[f"text_{similarity}"])
    found = text_scores(text, histories, similarity, 0.7)  # type: ignore[arg-type]
    assert found == pytest.approx(expected, abs=2e-5)

    graph = ItemGraph.build(sequences(LISTS), 9, GraphConfig())
    settings = TextGraphSettings(text=similarity, text_weight=2.0)  # type: ignore[arg-type]
    scores = TextGraphScorer(graph, text, settings).scores(histories).numpy()
    edges = next(graph.blocks(histories))[1]
    assert scores == pytest.approx(np.log(1 + GRAPH_SCALE * edges) + 2 * expected, abs=1e-4)


def test_an_empty_history_has_no_similar_text(sequences: Make) -> None:
    text = np.eye(3, dtype=np.float32)
    for similarity in ("max", "mean"):
        assert not text_scores(text, sequences([[], []]), similarity, 0.7).any()  # type: ignore[arg-type]


class Fixed:
    """A scorer with few different scores, so that ties are many."""

    def __init__(self, n_items: int) -> None:
        self.n_items = n_items

    def row(self, history: list[int]) -> np.ndarray:
        return np.random.default_rng(history).integers(0, 4, self.n_items).astype(np.float32)

    def scores(self, histories: Sequences) -> torch.Tensor:
        return torch.from_numpy(np.stack([self.row(histories[i].tolist()) for i in range(len(histories))]))


@pytest.mark.parametrize("split", ["valid", "test"])
def test_ranks_are_pessimistic_over_the_whole_catalogue(small: Dataset, split: str) -> None:
    """Against counting, user by user, the items that score as well as the target."""
    scorer = Fixed(small.n_items)
    found = evaluate(scorer, small, split, "fixed", EvaluationConfig(resamples=5))  # type: ignore[arg-type]
    cases = small.cases(split)  # type: ignore[arg-type]
    for case in range(len(cases)):
        history, target = cases[case].tolist(), int(cases.target[case])
        full = small.item_index[small.offsets[case] : small.offsets[case + 1]].tolist()
        assert history == full[: -1 if split == "test" else -2]  # at test time the validation item is in the history
        row = scorer.row(history)
        raw = sum(row[item] >= row[target] for item in range(15))
        filtered = sum(row[item] >= row[target] for item in range(15) if item not in history)
        ranks = found.methods["fixed"].ranks
        assert ranks["raw"][case] == raw
        if target in history:
            assert ranks["filtered"][case] > 15
        else:
            assert ranks["filtered"][case] == filtered
