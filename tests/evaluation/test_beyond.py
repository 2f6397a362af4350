"""Coverage, novelty and popularity of a four-item catalogue, by hand."""

import numpy as np
import pytest

from gen_rec.evaluation.beyond import BeyondTally

COUNTS = np.array([5, 2, 0, 1])  # 8 interactions, 4 items: shares (count + 1) / 12 = 6, 3, 1, 2 twelfths


def test_by_hand():
    tally = BeyondTally(2, COUNTS, cuts=(1, 2))
    tally.add(np.array([0, 1]), np.array([[0, 1, 2], [0, -1, -1]]))
    found = tally.figures()
    assert found["coverage@1"] == 1 / 4
    assert found["coverage@2"] == 2 / 4
    assert found["popularity@1"] == 5.0
    assert found["popularity@2"] == pytest.approx((5 + 2 + 5) / 3)
    assert found["novelty@1"] == pytest.approx(-np.log2(6 / 12))
    assert found["novelty@2"] == pytest.approx(-(2 * np.log2(6 / 12) + np.log2(3 / 12)) / 3)


def test_an_item_never_seen_is_the_most_novel_and_finite():
    tally = BeyondTally(1, COUNTS, cuts=(1,))
    tally.add(np.array([0]), np.array([[2]]))
    assert tally.figures()["novelty@1"] == pytest.approx(np.log2(12))


def test_cuts_in_any_order_and_longer_than_the_lists():
    ascending, other = BeyondTally(2, COUNTS, cuts=(1, 2, 9)), BeyondTally(2, COUNTS, cuts=(9, 1, 2))
    for tally in (ascending, other):
        tally.add(np.array([1, 0]), np.array([[0, 1, 2], [0, -1, -1]]))
    assert other.figures() == ascending.figures()
    assert other.figures()["coverage@9"] == 3 / 4


def test_nothing_recommended():
    tally = BeyondTally(1, COUNTS, cuts=(3,))
    tally.add(np.array([0]), np.array([[-1, -1]]))
    assert tally.figures() == {"coverage@3": 0.0, "novelty@3": 0.0, "popularity@3": 0.0}


def test_two_tallies_merge_to_one():
    rng = np.random.default_rng(0)
    items = np.argsort(rng.random((30, 4)), axis=1)
    whole, left, right = (BeyondTally(30, COUNTS, cuts=(2, 3)) for _ in range(3))
    rows = np.arange(30)
    whole.add(rows, items)
    left.add(rows[:17], items[:17])
    right.add(rows[17:], items[17:])
    left.merge(rows[17:], right.sums[17:], right.marks)
    assert left.figures() == whole.figures()
