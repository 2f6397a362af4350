"""The loop over users that row 9 compares with gives the figures of the evaluator."""

import numpy as np
import pytest

from benchmarks.speed.evaluation import disagreement, drawn_lists, evaluate
from benchmarks.speed.rivals.user_loop import evaluate_users, rank_of, user_figures
from benchmarks.speed.workload import beauty
from gen_rec.evaluation import CUTS, RankedLists


def test_a_user_by_hand():
    assert rank_of([4, 2, 7, -1], [0.9, 0.5, 0.5, 0.5], 2) == 3  # behind the 7 that ties with it
    assert rank_of([4, 2], [0.9, 0.5], 3) is None
    assert user_figures(3, (2, 5)) == [0.0, 1.0, 0.0, 0.5]
    assert user_figures(None, (2, 5)) == [0.0] * 4


def test_both_sides_agree():
    work = beauty("smoke")
    lists = drawn_lists(work)
    rng = np.random.default_rng(1)
    tied = {mode: {m: RankedLists(x.items, np.round(x.scores, 1)) for m, x in by.items()} for mode, by in lists.items()}
    counts = np.bincount(work.train.items, minlength=work.n_items)
    for given in (lists, tied):
        for ranked in given["filtered"].values():
            ranked.items[rng.random(len(ranked.items)) < 0.1, 3:] = -1  # short lists
        ours = evaluate(work, given, counts, resamples=4000, batch=50)
        figures, moved = disagreement(ours, evaluate_users(given, work.cases.target, CUTS, 4000))
        assert figures < 1e-12
        assert moved < 0.2  # an end moves by the noise of 4,000 resamples, and by steps of one user of 120
    plain = evaluate_users(lists, work.cases.target, CUTS, 1000, numpy=False)
    assert disagreement(evaluate(work, lists, counts, 4000, 50), plain)[1] < 0.3


@pytest.mark.parametrize("seed", range(3))
def test_no_item_stands_twice_in_a_drawn_list(seed):
    work = beauty("smoke")
    for methods in drawn_lists(work, seed=seed).values():
        for ranked in methods.values():
            assert all(len(set(row)) == len(row) for row in ranked.items.tolist())
            assert np.isin(work.cases.target[:, None], ranked.items).any()
            assert (np.diff(ranked.scores) <= 0).all()
