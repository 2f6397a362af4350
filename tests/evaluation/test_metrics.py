"""Ranks, Recall and NDCG against ``ranx`` and against values computed by hand."""

import numpy as np
import pytest
import ranx
import torch

from gen_rec.evaluation.metrics import (
    CUTS,
    MISS,
    RankedLists,
    as_lists,
    gains,
    metric_names,
    ndcg_at,
    open_ties,
    recall_at,
    retrieval_metrics,
    target_ranks,
)
from indexing.ranking import Ranked


def test_means_equal_ranx_on_lists_without_ties(random_lists):
    n, n_items = 300, 60
    items, scores = random_lists(n, n_items, 25, seed=1)
    target = np.random.default_rng(2).integers(0, n_items, n)
    qrels = ranx.Qrels({str(u): {str(target[u]): 1} for u in range(n)})
    run = ranx.Run({str(u): {str(i): float(s) for i, s in zip(items[u], scores[u], strict=True)} for u in range(n)})
    expected = ranx.evaluate(qrels, run, metric_names())
    found = retrieval_metrics(target_ranks(items, scores, target))
    assert list(found) == metric_names()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12), name


def test_per_user_values_equal_ranx(random_lists):
    items, scores = random_lists(50, 30, 25, seed=3)
    target = np.random.default_rng(4).integers(0, 30, 50)
    qrels = ranx.Qrels({f"{u:02}": {str(target[u]): 1} for u in range(50)})
    run = ranx.Run({f"{u:02}": {str(i): float(s) for i, s in zip(items[u], scores[u], strict=True)} for u in range(50)})
    expected = ranx.evaluate(qrels, run, ["ndcg@10", "recall@10"], return_mean=False)
    ranks = target_ranks(items, scores, target)
    np.testing.assert_allclose(ndcg_at(ranks, 10), expected["ndcg@10"], atol=1e-12)
    np.testing.assert_allclose(recall_at(ranks, 10), expected["recall@10"], atol=1e-12)


@pytest.mark.parametrize(
    ("items", "scores", "target", "rank"),
    [
        ([7, 3, 5], [0.9, 0.8, 0.7], 3, 2),  # no tie
        ([7, 3, 5], [0.9, 0.9, 0.7], 7, 2),  # listed first, tied with one: behind it
        ([7, 3, 5, 1], [0.9, 0.5, 0.5, 0.5], 3, 4),  # behind both that tie
        ([7, 3, 5], [0.4, 0.4, 0.4], 7, 3),  # everything ties: last
        ([7, 3, 5], [0.9, 0.8, 0.7], 2, MISS),  # not listed
        ([7, 3, -1], [0.9, 0.8, -np.inf], 3, 2),  # padding is nobody's rival
        ([7, 3, -1], [-np.inf, -np.inf, -np.inf], 3, 2),  # nor at an equal score
        ([-1, -1, -1], [-np.inf, -np.inf, -np.inf], 3, MISS),  # an empty list
        ([-1, -1, -1], [0.0, 0.0, 0.0], -1, MISS),  # no target is not padding
        ([3, 7, 5], [0.1, 0.9, 0.5], 5, 2),  # the rank comes from scores, not from places
    ],
)
def test_rank_of_the_target_by_hand(items, scores, target, rank):
    assert target_ranks(np.array([items]), np.array([scores]), np.array([target])).tolist() == [rank]


def test_figures_by_hand():
    ranks = np.array([1, 3, 6, 21, MISS])
    found = retrieval_metrics(ranks)
    assert found["recall@5"] == pytest.approx(2 / 5)
    assert found["recall@10"] == found["recall@20"] == pytest.approx(3 / 5)
    assert found["ndcg@5"] == pytest.approx((1 + 1 / 2) / 5)  # 1/log2(2) and 1/log2(4)
    assert found["ndcg@10"] == pytest.approx((1 + 1 / 2 + 1 / np.log2(7)) / 5)


def test_gains_hold_every_rank_and_the_miss():
    ranks = np.array([1, 2, 5, 6, 10, 11, 20, 21])
    table = gains()[ranks]
    for column, name in enumerate(metric_names()):
        figure = recall_at if name.startswith("recall") else ndcg_at
        np.testing.assert_array_equal(table[:, column], figure(ranks, int(name.split("@")[1])))
    assert not gains()[-1].any()


def test_a_tie_that_may_go_on_beyond_the_list_is_noticed():
    items = np.array([[1, 2], [1, 2], [1, -1]])
    scores = np.array([[0.5, 0.5], [0.6, 0.5], [0.5, -np.inf]])
    ranks = target_ranks(items, scores, np.array([1, 1, 1]))
    assert ranks.tolist() == [2, 1, 1]
    assert open_ties(items, scores, ranks, cut=2).tolist() == [True, False, False]
    assert not open_ties(items, scores, ranks, cut=1).any()


def test_no_users_is_an_error_not_a_zero():
    with pytest.raises(ValueError, match="no users"):
        retrieval_metrics(np.array([], dtype=np.int64))


def test_tensors_are_taken_and_bad_lists_refused():
    scores = torch.tensor([[0.5, 0.25]], dtype=torch.bfloat16, requires_grad=True)
    lists = as_lists(Ranked(torch.tensor([[2, 1]]), scores))
    assert isinstance(lists.items, np.ndarray)
    assert lists.scores.tolist() == [[0.5, 0.25]]
    with pytest.raises(ValueError, match="one shape"):
        as_lists(RankedLists(np.zeros((2, 3), int), np.zeros((2, 4))))
    with pytest.raises(ValueError, match="row 1, rank 2: item 4 has the score NaN"):
        as_lists(RankedLists(np.array([[1, 2], [3, 4]]), np.array([[0.5, 0.2], [0.5, np.nan]])))
    with pytest.raises(ValueError, match="whole numbers"):
        as_lists(RankedLists(np.zeros((1, 2)), np.zeros((1, 2))))
    assert CUTS == (5, 10, 20)
