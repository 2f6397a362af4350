"""Filtering against Python sets, and by hand for a target that is in the history."""

import numpy as np
import pytest

from gen_rec.evaluation.filtering import filter_seen, ragged_rows, seen_mask
from gen_rec.evaluation.metrics import MISS, target_ranks


def test_history_goes_before_the_cut(make_cases):
    cases = make_cases([[4, 2], [], [9]], target=[1, 1, 1])
    items = np.array([[2, 1, 4, 3, 5], [2, 1, 4, 3, 5], [2, 1, 4, 9, 5]])
    scores = np.array([[0.9, 0.8, 0.7, 0.6, 0.5]] * 3)
    lists = filter_seen(items, scores, cases, k=3)
    assert lists.items.tolist() == [[1, 3, 5], [2, 1, 4], [2, 1, 4]]
    assert lists.scores.tolist() == [[0.8, 0.6, 0.5], [0.9, 0.8, 0.7], [0.9, 0.8, 0.7]]


def test_a_target_in_the_history_is_a_miss(make_cases):
    cases = make_cases([[4, 2]], target=[4])
    items, scores = np.array([[4, 1, 3]]), np.array([[0.9, 0.8, 0.7]])
    assert target_ranks(items, scores, cases.target).tolist() == [1]
    lists = filter_seen(items, scores, cases, k=2)
    assert target_ranks(lists.items, lists.scores, cases.target).tolist() == [MISS]


def test_short_lists_are_padded_when_the_catalogue_has_no_more(make_cases):
    cases = make_cases([[0, 1]], target=[2])
    lists = filter_seen(np.array([[0, 1, 2]]), np.array([[3.0, 2.0, 1.0]]), cases, k=2, n_items=3)
    assert lists.items.tolist() == [[2, -1]]
    assert lists.scores.tolist() == [[1.0, -np.inf]]
    ended = filter_seen(np.array([[0, 2, -1]]), np.array([[3.0, 2.0, -np.inf]]), cases, k=2)
    assert ended.items.tolist() == [[2, -1]]  # the search itself said that there is no more


def test_a_list_cut_too_early_is_refused(make_cases):
    cases = make_cases([[0, 1]], target=[2])
    with pytest.raises(ValueError, match="list 0 names 3 items, 1 of them unseen, and 2 are wanted"):
        filter_seen(np.array([[0, 1, 2]]), np.array([[3.0, 2.0, 1.0]]), cases, k=2, n_items=10)


def test_against_sets_with_rows_in_any_order(random_cases, random_lists):
    cases = random_cases(80, 40, seed=5)
    items, scores = random_lists(60, 40, 40, seed=6)
    rows = np.random.default_rng(7).permutation(80)[:60]
    mask = seen_mask(items, cases, rows)
    lists = filter_seen(items, scores, cases, k=10, rows=rows, n_items=40)
    for i, row in enumerate(rows):
        history = set(cases.items[cases.offsets[row] : cases.offsets[row + 1]].tolist())
        assert mask[i].tolist() == [item in history for item in items[i].tolist()]
        expected = [item for item in items[i].tolist() if item not in history][:10]
        assert lists.items[i].tolist() == expected
        assert lists.scores[i].tolist() == [scores[i, items[i].tolist().index(item)] for item in expected]


def test_no_history_at_all(make_cases):
    cases = make_cases([[], []], target=[0, 0])
    items, scores = np.array([[1, 0], [2, -1]]), np.zeros((2, 2))
    assert not seen_mask(items, cases).any()
    assert filter_seen(items, scores, cases, k=2).items.tolist() == [[1, 0], [2, -1]]


def test_ragged_rows(make_cases):
    cases = make_cases([[7, 8], [], [9]], target=[0, 0, 0])
    position, entry = ragged_rows(cases.offsets, np.array([2, 1, 0, 2]))
    assert position.tolist() == [0, 2, 2, 3]
    assert cases.items[entry].tolist() == [9, 7, 8, 9]


def test_one_row_a_list(make_cases):
    with pytest.raises(ValueError, match="2 lists and 1 rows"):
        seen_mask(np.zeros((2, 3), int), make_cases([[1]], [0]), np.array([0]))
