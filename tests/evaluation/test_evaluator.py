"""The evaluator against one pass over everything, in pieces, twice, and from several processes."""

import logging
import pickle

import numpy as np
import pytest

from gen_rec.evaluation import EvaluationConfig, Evaluator, RankedLists, filter_seen
from gen_rec.evaluation.metrics import MISS, retrieval_metrics, target_ranks

N, ITEMS = 120, 50


@pytest.fixture(scope="module")
def cases(random_cases):
    return random_cases(N, ITEMS, seed=1)


@pytest.fixture(scope="module")
def counts():
    return np.random.default_rng(2).poisson(3, ITEMS)


@pytest.fixture(scope="module")
def lists(cases, random_lists):
    raw, filtered = {}, {}
    for seed, method in enumerate(("eager-fused", "eager-behavior"), start=3):
        items, scores = random_lists(N, ITEMS, ITEMS, seed)
        raw[method] = RankedLists(items[:, :21], scores[:, :21])
        filtered[method] = filter_seen(items, scores, cases, 21, n_items=ITEMS)
    return raw, filtered


def give(evaluator, lists, rows):
    raw, filtered = ({m: RankedLists(x.items[rows], x.scores[rows]) for m, x in part.items()} for part in lists)
    evaluator.add(rows, raw, filtered)


def assert_same(a, b):
    assert list(a.methods) == list(b.methods)
    for method, found in a.methods.items():
        other = b.methods[method]
        assert found.metrics == other.metrics
        assert found.intervals == other.intervals
        assert found.slices == other.slices
        for mode in ("raw", "filtered"):
            assert found.beyond[mode] == pytest.approx(other.beyond[mode], rel=1e-6)  # order of float sums
            np.testing.assert_array_equal(found.ranks[mode], other.ranks[mode])


@pytest.fixture(scope="module")
def whole(cases, counts, lists):
    evaluator = Evaluator(cases, counts)
    give(evaluator, lists, np.arange(N))
    return evaluator.finish()


def test_figures_are_those_of_the_lists(whole, cases, lists):
    for mode, part in zip(("raw", "filtered"), lists, strict=True):
        for method, ranked in part.items():
            ranks = target_ranks(ranked.items, ranked.scores, cases.target)
            assert whole.methods[method].metrics[mode] == retrieval_metrics(ranks)
            np.testing.assert_array_equal(whole.methods[method].ranks[mode], ranks)


def test_batches_in_any_order_with_repeats_count_once(whole, cases, counts, lists):
    evaluator = Evaluator(cases, counts)
    order = np.random.default_rng(5).permutation(N)
    for start in range(0, N, 32):
        rows = order[start : start + 32]
        give(evaluator, lists, np.concatenate([rows, order[:3], rows[:2]]))  # what a sampler pads with
    assert_same(evaluator.finish(), whole)


def test_processes_merge_without_duplicates(whole, cases, counts, lists):
    evaluators = [Evaluator(cases, counts) for _ in range(3)]
    for rank, evaluator in enumerate(evaluators):
        rows = np.arange(rank, N + 3, 3) % N  # each also holds a row of another
        give(evaluator, lists, rows)
    main, *others = evaluators
    for other in others:
        main.merge(pickle.loads(pickle.dumps(other.state())))
    main.merge(Evaluator(cases, counts).state())  # a process that got nothing
    assert_same(main.finish(), whole)


def test_an_empty_evaluator_takes_over_what_others_gathered(whole, cases, counts, lists):
    worker, main = Evaluator(cases, counts), Evaluator(cases, counts)
    give(worker, lists, np.arange(N))
    main.merge(worker.state())
    assert_same(main.finish(), whole)


def test_target_in_history_hits_raw_and_misses_filtered(make_cases):
    cases = make_cases([[1, 0]], target=[1])
    items, scores = np.array([[1, 2, 0]]), np.array([[0.9, 0.5, 0.1]])
    evaluator = Evaluator(cases, np.array([1, 1, 1]))
    evaluator.add(
        np.array([0]),
        {"popularity": RankedLists(items, scores)},
        {"popularity": filter_seen(items, scores, cases, 2, n_items=3)},
    )
    found = evaluator.finish().methods["popularity"]
    assert found.metrics["raw"]["ndcg@5"] == 1.0
    assert found.metrics["filtered"]["recall@20"] == 0.0
    assert found.ranks["filtered"].tolist() == [MISS]


def test_a_target_training_never_saw_counts_as_a_user(make_cases):
    cases = make_cases([[0], [0]], target=[2, 1])
    lists = {"m": RankedLists(np.array([[1], [1]]), np.array([[1.0], [1.0]]))}
    evaluator = Evaluator(cases, np.array([2, 3, 0]))
    evaluator.add(np.arange(2), lists, lists)
    found = evaluator.finish().methods["m"]
    assert found.metrics["raw"]["recall@5"] == 0.5
    by_popularity = {s["slice"]: s["n"] for s in found.slices if s["by"] == "target_popularity"}
    assert by_popularity["never seen"] == 1


def test_comparison_of_two_methods(whole):
    found = whole.compare("eager-fused", "eager-behavior", "raw")["recall@10"]
    expected = [whole.methods[m].metrics["raw"]["recall@10"] for m in ("eager-fused", "eager-behavior")]
    assert found["difference"] == pytest.approx(expected[0] - expected[1])


def test_users_left_out_are_an_error_unless_asked_for(cases, counts, lists):
    evaluator = Evaluator(cases, counts)
    give(evaluator, lists, np.array([0, 1, 3]))
    with pytest.raises(ValueError, match=f"{N - 3} of {N} cases have no ranked list, the first is row 2"):
        evaluator.finish()
    assert evaluator.finish(partial=True).rows.tolist() == [0, 1, 3]


def test_open_ties_are_warned_about(make_cases, caplog):
    cases = make_cases([[0]], target=[1])
    lists = {"m": RankedLists(np.array([[2, 1]]), np.array([[0.5, 0.5]]))}
    evaluator = Evaluator(cases, np.ones(9, int))
    evaluator.add(np.array([0]), lists, lists)
    with caplog.at_level(logging.WARNING):
        evaluator.finish()
    assert "1 targets tie with the end of a list" in caplog.text


def test_what_is_refused(cases, counts, lists):
    evaluator = Evaluator(cases, counts)
    raw, filtered = lists
    with pytest.raises(ValueError, match="120 lists for 2 rows"):
        evaluator.add(np.array([0, 1]), raw, filtered)
    with pytest.raises(ValueError, match="a raw and a filtered list"):
        evaluator.add(np.arange(N), raw, {"eager-fused": filtered["eager-fused"]})
    with pytest.raises(ValueError, match="rows must lie in"):
        evaluator.add(np.arange(N) + 1, raw, filtered)
    with pytest.raises(ValueError, match="same methods"):
        evaluator.add(np.arange(N), {"eager-fused": raw["eager-fused"]}, {"eager-fused": filtered["eager-fused"]})
    outside = {m: RankedLists(x.items + 40, x.scores) for m, x in raw.items()}
    with pytest.raises(ValueError, match="outside the catalogue of 50"):
        evaluator.add(np.arange(N), outside, filtered)
    with pytest.raises(ValueError, match="targets outside"):
        Evaluator(cases, counts[:3])


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"evaluation\.level"):
        EvaluationConfig(level=95)
    with pytest.raises(ValueError, match=r"evaluation\.resamples"):
        EvaluationConfig(resamples=0)
    with pytest.raises(ValueError, match=r"evaluation\.tail"):
        EvaluationConfig(tail=0.95)
    with pytest.raises(ValueError, match=r"evaluation\.length_edges"):
        EvaluationConfig(length_edges=[1, 5])
