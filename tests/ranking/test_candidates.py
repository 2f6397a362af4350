"""Unions of lists against sets, and neighbours against a sort."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_rec.data.interactions import Sequences, offsets_of
from gen_rec.ranking.candidates import gather_candidates, graph_candidates, union
from gen_rec.ranking.pool import neutral_where_seen


def sequences(histories: list[list[int]]) -> Sequences:
    lengths = np.array([len(history) for history in histories], dtype=np.int64)
    items = np.array([item for history in histories for item in history], dtype=np.int32)
    return Sequences(offsets_of(lengths), items, np.arange(len(histories), dtype=np.int32))


CELLS = st.integers(-1, 9)
ROWS = st.integers(1, 4).flatmap(
    lambda n: st.lists(
        st.integers(1, 5).flatmap(
            lambda m: st.lists(st.lists(CELLS, min_size=m, max_size=m), min_size=n, max_size=n)
        ),
        min_size=1, max_size=3,
    )
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(ROWS)
def test_a_union_holds_each_item_once(lists: list[list[list[int]]]) -> None:
    found = union([np.array(rows, dtype=np.int64) for rows in lists])
    for row, items in enumerate(found.tolist()):
        expected = sorted({item for rows in lists for item in rows[row]} - {-1})
        assert items == expected + [-1] * (len(items) - len(expected))
    assert found.shape[1] == max(1, int((found >= 0).sum(1).max()))


def test_candidates_know_what_was_seen() -> None:
    found = gather_candidates(sequences([[3, 1], []]), [np.array([[1, 2], [5, -1]]), np.array([[3], [1]])])
    assert found.items.tolist() == [[1, 2, 3], [1, 5, -1]]
    assert found.seen.tolist() == [[True, False, True], [False, False, False]]
    assert found.unseen.tolist() == [[False, True, False], [True, True, False]]


def test_neighbours_are_the_best_with_and_without_the_history() -> None:
    scores = np.array([[0.0, 3.0, 2.0, 1.0], [0.0, 0.0, 0.5, 0.0]], dtype=np.float32)
    raw, filtered = graph_candidates(scores, sequences([[1], [0, 0]]), 2)
    assert raw.tolist() == [[1, 2], [2, -1]]
    assert filtered.tolist() == [[2, 3], [2, -1]]
    raw, filtered = graph_candidates(np.zeros((1, 4), dtype=np.float32), sequences([[1]]), 9)
    assert (raw < 0).all()
    assert (filtered < 0).all()


def test_scores_of_the_history_are_neutral() -> None:
    candidates = gather_candidates(
        sequences([[3, 1], [], [0, 1]]), [np.array([[1, 2, 3, 5], [5, 7, -1, -1], [0, 1, -1, -1]])]
    )
    scores = np.array([[9.0, 1.0, 8.0, 2.0], [4.0, 5.0, -np.inf, -np.inf], [3.0, 6.0, -np.inf, -np.inf]], np.float32)
    found = neutral_where_seen(scores, candidates)
    assert found.tolist() == [[1.5, 1.0, 1.5, 2.0], [4.0, 5.0, -np.inf, -np.inf], [0.0, 0.0, -np.inf, -np.inf]]
