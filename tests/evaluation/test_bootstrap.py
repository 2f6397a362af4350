"""The histogram bootstrap against the usual one, which draws users; and its coverage."""

import numpy as np
import pytest

from gen_rec.evaluation.bootstrap import bootstrap_intervals, paired_bootstrap
from gen_rec.evaluation.metrics import MISS, metric_names, ndcg_at, retrieval_metrics


def some_ranks(n: int, seed: int, power: float = 1.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n) < 0.2, rng.zipf(power, n).clip(1, 10_000), MISS)


def test_interval_equals_resampling_users():
    ranks = some_ranks(500, seed=1)
    found = bootstrap_intervals(ranks, resamples=20_000, seed=2)
    rng = np.random.default_rng(3)
    values = ndcg_at(ranks, 10)
    means = np.array([values[rng.integers(0, 500, 500)].mean() for _ in range(20_000)])
    # 20,000 resamples: the standard error of a 2.5 % quantile is about 0.01 of the interval's width
    width = np.quantile(means, 0.975) - np.quantile(means, 0.025)
    np.testing.assert_allclose(found["ndcg@10"], np.quantile(means, [0.025, 0.975]), atol=0.05 * width)


def test_interval_has_the_wanted_width_and_order():
    ranks = some_ranks(2_000, seed=4)
    metrics = retrieval_metrics(ranks)
    found = bootstrap_intervals(ranks, seed=0)
    assert list(found) == metric_names()
    for name, (low, high) in found.items():
        assert low < metrics[name] < high
    p = metrics["recall@10"]
    normal = 2 * 1.96 * np.sqrt(p * (1 - p) / 2_000)
    low, high = found["recall@10"]
    assert high - low == pytest.approx(normal, rel=0.1)  # 2,000 resamples, and recall takes steps of 1/2,000
    narrow = bootstrap_intervals(ranks, level=0.5, seed=0)["recall@10"]
    assert low < narrow[0] < narrow[1] < high


def test_same_seed_same_interval():
    ranks = some_ranks(200, seed=5)
    assert bootstrap_intervals(ranks, seed=1) == bootstrap_intervals(ranks, seed=1)
    assert bootstrap_intervals(ranks, seed=1) != bootstrap_intervals(ranks, seed=2)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    # the true recall@10 is 0.3; over 300 samples the coverage 0.95 has a deviation of 0.0126: 0.90 is 4 below
    rng = np.random.default_rng(6)
    inside = 0
    for sample in range(300):
        ranks = np.where(rng.random(400) < 0.3, 1, MISS)
        low, high = bootstrap_intervals(ranks, resamples=500, seed=sample)["recall@10"]
        inside += low <= 0.3 <= high
    assert inside / 300 > 0.90


def test_paired_difference_is_exact_and_narrower_than_unpaired():
    a = some_ranks(3_000, seed=7)
    b = np.where(np.random.default_rng(8).random(3_000) < 0.05, MISS, a)  # the same, with a few hits lost
    found = paired_bootstrap(a, b, seed=0)["ndcg@10"]
    expected = retrieval_metrics(a)["ndcg@10"] - retrieval_metrics(b)["ndcg@10"]
    assert found["difference"] == pytest.approx(expected, abs=1e-12)
    assert 0 < found["low"] <= found["difference"] <= found["high"]
    assert found["a_better"] == 1.0
    low, high = bootstrap_intervals(a, seed=0)["ndcg@10"]
    assert found["high"] - found["low"] < (high - low) / 2


def test_paired_equals_resampling_users_in_pairs():
    a, b = some_ranks(400, seed=9), some_ranks(400, seed=10)
    found = paired_bootstrap(a, b, resamples=20_000, seed=1)["ndcg@20"]
    difference = ndcg_at(a, 20) - ndcg_at(b, 20)
    rng = np.random.default_rng(11)
    means = np.array([difference[rng.integers(0, 400, 400)].mean() for _ in range(20_000)])
    low, high = np.quantile(means, [0.025, 0.975])
    assert found["low"] == pytest.approx(low, abs=0.05 * (high - low))
    assert found["high"] == pytest.approx(high, abs=0.05 * (high - low))
    assert found["a_better"] == pytest.approx((means > 0).mean(), abs=0.02)


def test_a_ranking_against_itself_differs_by_nothing():
    ranks = some_ranks(100, seed=12)
    for figures in paired_bootstrap(ranks, ranks).values():
        assert figures == {"difference": 0.0, "low": 0.0, "high": 0.0, "a_better": 0.0}


def test_what_is_refused():
    with pytest.raises(ValueError, match="3 and 2 ranks"):
        paired_bootstrap(np.ones(3, int), np.ones(2, int))
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap_intervals(np.ones(3, int), level=95)
    with pytest.raises(ValueError, match="no users"):
        bootstrap_intervals(np.array([], int))
