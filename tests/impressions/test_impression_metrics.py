"""AUC, MRR and nDCG of impressions against hand-made figures, scikit-learn, and a loop of MIND's definition."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score, roc_auc_score

from gen_rec.data.interactions import offsets_of
from gen_rec.impressions import metrics
from gen_rec.impressions.metrics import METRICS, candidate_ranks, impression_metrics


def one(labels, scores):
    values = impression_metrics(np.array([0, len(labels)]), np.array(labels), np.array(scores, float))
    return dict(zip(METRICS, values[0].tolist(), strict=True))


def by_loop(labels, scores):
    """The four metrics of one impression, the way MIND works them out: a sort upwards, turned round."""
    order = np.argsort(scores, kind="stable")[::-1]
    sorted_labels = [int(labels[i]) for i in order]
    reciprocal = sum(label / rank for rank, label in enumerate(sorted_labels, 1)) / sum(sorted_labels)

    def gain(ranked, cut):
        return sum((2**label - 1) / math.log2(rank + 1) for rank, label in enumerate(ranked[:cut], 1))

    best = sorted(sorted_labels, reverse=True)
    ndcg = [gain(sorted_labels, cut) / gain(best, cut) for cut in (5, 10)]
    return [roc_auc_score(labels, scores), reciprocal, *ndcg]


def test_one_click_by_hand():
    # the click is third of four: it beats one of three others
    found = one([0, 1, 0, 0], [0.9, 0.5, 0.7, 0.1])
    assert found == pytest.approx({"auc": 1 / 3, "mrr": 1 / 3, "ndcg@5": 1 / 2, "ndcg@10": 1 / 2})


def test_two_clicks_by_hand():
    # ranks 1 and 6 of six: the reciprocal ranks are averaged, the cut at 5 loses the second click
    found = one([1, 0, 0, 0, 0, 1], [6, 5, 4, 3, 2, 1])
    ideal = 1 + 1 / math.log2(3)
    assert found == pytest.approx(
        {"auc": 4 / 8, "mrr": (1 + 1 / 6) / 2, "ndcg@5": 1 / ideal, "ndcg@10": (1 + 1 / math.log2(7)) / ideal}
    )


def test_more_clicks_than_the_cut():
    assert one([1] * 7 + [0], range(8, 0, -1)) == pytest.approx({"auc": 1, "mrr": 363 / 980, "ndcg@5": 1, "ndcg@10": 1})


def test_of_equal_scores_the_later_ranks_first():
    assert one([0, 1], [1, 1]) == pytest.approx({"auc": 0.5, "mrr": 1, "ndcg@5": 1, "ndcg@10": 1})
    assert one([1, 0], [1, 1]) == pytest.approx(
        {"auc": 0.5, "mrr": 0.5, "ndcg@5": 1 / math.log2(3), "ndcg@10": 1 / math.log2(3)}
    )
    offsets = np.array([0, 3, 5])
    np.testing.assert_array_equal(candidate_ranks(offsets, np.array([1.0, 2.0, 1.0, 0.0, 0.0])), [3, 1, 2, 2, 1])


def test_left_out():
    offsets = np.array([0, 2, 4, 6, 8, 8, 10])
    labels = np.array([1, 1, 0, 0, -1, -1, 1, -1, 1, 0])
    values = impression_metrics(offsets, labels, np.arange(10.0))
    np.testing.assert_array_equal(np.isnan(values).all(1), [True, True, True, True, True, False])
    np.testing.assert_array_equal(np.isnan(values).any(1), np.isnan(values).all(1))


@st.composite
def ragged(draw, distinct):
    lists = []
    for _ in range(draw(st.integers(1, 6))):
        length = draw(st.integers(2, 30))
        labels = draw(
            st.lists(st.integers(0, 1), min_size=length, max_size=length).filter(lambda x: 0 < sum(x) < len(x))
        )
        number = st.integers(-(2**20), 2**20) if distinct else st.integers(0, 3)
        scores = draw(st.lists(number, min_size=length, max_size=length, unique=distinct))
        lists.append((labels, scores))
    return lists


@settings(max_examples=60, deadline=None)
@given(ragged(distinct=False), st.sampled_from([1, 7, 10**6]))
def test_against_a_loop_with_ties(lists, chunk):
    offsets = offsets_of(np.array([len(labels) for labels, _ in lists]))
    labels = np.concatenate([labels for labels, _ in lists])
    scores = np.concatenate([scores for _, scores in lists]).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "CHUNK", chunk)
        found = impression_metrics(offsets, labels, scores)
        ranks = candidate_ranks(offsets, scores)
    expected = [by_loop(labels, np.array(scores, float)) for labels, scores in lists]
    np.testing.assert_allclose(found, expected, rtol=1e-12)  # both in float64; only the order of sums differs
    for start, stop in pairwise(offsets):
        assert sorted(ranks[start:stop]) == list(range(1, stop - start + 1))


@settings(max_examples=30, deadline=None)
@given(ragged(distinct=True))
def test_against_scikit_learn(lists):
    for labels, scores in lists:
        found = one(labels, scores)
        assert found["auc"] == pytest.approx(roc_auc_score(labels, scores))
        for cut in (5, 10):
            assert found[f"ndcg@{cut}"] == pytest.approx(ndcg_score([labels], [scores], k=cut))


@settings(max_examples=30, deadline=None)
@given(ragged(distinct=True))
def test_ranks_give_the_figures_of_the_scores(lists):
    """MIND's script is given ranks and scores 1 / rank."""
    for labels, scores in lists:
        ranks = candidate_ranks(np.array([0, len(scores)]), np.array(scores, float))
        assert one(labels, scores) == one(labels, 1 / ranks)


def test_infinite_scores_are_scores_and_nan_is_not():
    assert one([1, 0, 0], [np.inf, 0, -np.inf])["auc"] == 1
    with pytest.raises(ValueError, match=r"1 scores are not numbers, the first in impression 1 \(from 0\)"):
        impression_metrics(np.array([0, 2, 4]), np.array([1, 0, 1, 0]), np.array([1, 2, np.nan, 3]))
    with pytest.raises(ValueError, match="got 3 scores for 4 candidates"):
        candidate_ranks(np.array([0, 2, 4]), np.zeros(3))
    with pytest.raises(ValueError, match="got 3 labels and 4 scores"):
        impression_metrics(np.array([0, 2, 4]), np.zeros(3, int), np.zeros(4))
