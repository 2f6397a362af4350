"""k-core, chronological order, repeated interactions and renumbering against plain Python."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_rec.data.filters import chronological, first_of_each, k_core, renumber, ties

pairs = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=60)
triples = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 3)), max_size=60)


def columns(rows: list[tuple[int, ...]], width: int) -> list[np.ndarray]:
    return list(np.array(rows, dtype=np.int32).reshape(-1, width).T)


def brute_k_core(rows: list[tuple[int, int]], k: int) -> list[int]:
    """Drop one row after the other until nothing changes; the k-core does not depend on the order."""
    alive = list(range(len(rows)))
    while True:
        users, items = (Counter(rows[i][side] for i in alive) for side in (0, 1))
        bad = next((i for i in alive if users[rows[i][0]] < k or items[rows[i][1]] < k), None)
        if bad is None:
            return alive
        alive.remove(bad)


@settings(deadline=None)
@given(pairs, st.integers(0, 5))
def test_k_core_is_the_fixed_point(rows, k):
    users, items = columns(rows, 2)
    alive, rounds = k_core(users, items, k)
    assert np.flatnonzero(alive).tolist() == brute_k_core(rows, k)
    assert (rounds == 0) == alive.all()


def test_k_core_needs_several_rounds():
    # item 2 has one interaction, without it user 1 has one, without that item 1 has one, and so on
    users, items = np.array([0, 0, 1, 1, 2, 2, 3, 3]), np.array([8, 9, 1, 2, 1, 3, 8, 9])
    alive, rounds = k_core(users, items, 2)
    assert alive.tolist() == [True, True, False, False, False, False, True, True]
    assert rounds == 2


@settings(deadline=None)
@given(triples)
def test_chronological_is_a_stable_sort(rows):
    users, _, times = columns(rows, 3)
    expected = sorted(range(len(rows)), key=lambda i: (rows[i][0], rows[i][2]))
    assert chronological(users, times).tolist() == expected


@pytest.mark.parametrize("largest", [50, 2**40, 2**61])  # of times: few and many ties, and no room in one number
def test_chronological_at_every_span(largest):
    rng = np.random.default_rng(0)
    users, times = rng.integers(0, 40, 3000).astype(np.int32), rng.integers(-largest, largest, 3000)
    np.testing.assert_array_equal(chronological(users, times), np.lexsort((times, users)))


@settings(deadline=None)
@given(triples, st.integers(0, 2**32))
def test_shuffling_permutes_ties_only(rows, seed):
    users, _, times = columns(rows, 3)
    plain, shuffled = chronological(users, times), chronological(users, times, seed)
    assert sorted(shuffled) == sorted(plain)
    assert users[shuffled].tolist() == users[plain].tolist()
    assert times[shuffled].tolist() == times[plain].tolist()
    assert shuffled.tolist() == chronological(users, times, seed).tolist()


def test_shuffling_reaches_every_order_of_a_tie():
    users, times = np.zeros(3, dtype=np.int32), np.zeros(3, dtype=np.int64)
    orders = Counter(tuple(chronological(users, times, seed).tolist()) for seed in range(600))
    # 100 expected each of the 6; 50 away is more than five standard deviations (sqrt(600 / 6 * 5 / 6) = 9.1)
    assert len(orders) == 6
    assert all(abs(count - 100) < 50 for count in orders.values())


@settings(deadline=None)
@given(pairs)
def test_first_of_each(rows):
    kept = first_of_each(*columns(rows, 2))
    assert [rows[i] for i in np.flatnonzero(kept)] == list(dict.fromkeys(rows))


@settings(deadline=None)
@given(triples)
def test_ties(rows):
    users, _, times = columns(rows, 3)
    expected = [i > 0 and rows[i][::2] == rows[i - 1][::2] for i in range(len(rows))]
    assert ties(users, times).tolist() == expected


@given(st.lists(st.integers(0, 30), max_size=40))
def test_renumber_closes_gaps_and_keeps_the_order(codes):
    array = np.array(codes, dtype=np.int64)
    new, old = renumber(array)
    assert old.tolist() == sorted(set(codes))
    assert old[new].tolist() == codes


@pytest.mark.parametrize("k", [0, 1])
def test_no_filter(k):
    alive, rounds = k_core(np.array([0, 1]), np.array([0, 1]), k)
    assert alive.all()
    assert rounds == 0
