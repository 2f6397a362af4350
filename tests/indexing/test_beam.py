"""Beam search against a beam over dictionaries, and the exact search against every item's own product."""

import numpy as np
import pytest
import torch
from catalogues import catalogues, dict_beam, dict_scores, dict_top, random_scorer
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing import TableScorer, Trie, beam_search, exact_scores, exact_search, score_items

ROWS = 3
seeds = st.integers(0, 2**20)


def lists(items: torch.Tensor) -> list[list[int]]:
    """Rows without their padding, which must be at the end."""
    found = [[item for item in row if item >= 0] for row in items.tolist()]
    assert [row + [-1] * (items.shape[1] - len(row)) for row in found] == items.tolist()
    return found


@st.composite
def excluded(draw: st.DrawFn, n_items: int) -> list[list[int]]:
    m = draw(st.integers(0, 6))
    return [draw(st.lists(st.integers(-1, n_items - 1), min_size=m, max_size=m)) for _ in range(ROWS)]


@settings(max_examples=150, deadline=None)
@given(catalogue=catalogues(), seed=seeds, beams=st.integers(1, 12), k=st.integers(1, 45), data=st.data())
def test_beam_equals_a_beam_over_dictionaries(catalogue, seed, beams, k, data):
    codes, widths = catalogue
    layout = data.draw(st.sampled_from(["dense", "csr"]))
    trie = Trie.from_codes(codes, widths, layout)
    scorer = random_scorer(trie, ROWS, seed, ties=data.draw(st.booleans()))
    exclude = data.draw(excluded(len(codes)))
    result = beam_search(scorer, trie, beams, k, torch.tensor(exclude).view(ROWS, -1).long())
    assert result.items.shape == result.scores.shape == (ROWS, k)
    assert lists(result.items) == dict_beam(codes, scorer, beams, k, exclude)
    truth = dict_scores(codes, scorer)
    for row, items in enumerate(lists(result.items)):
        assert len(set(items)) == len(items)  # no duplicates, and all are real items
        np.testing.assert_allclose(result.scores[row, : len(items)], truth[row, items], atol=1e-5)
        assert bool((result.scores[row, len(items) :] == -torch.inf).all())


@settings(max_examples=150, deadline=None)
@given(catalogue=catalogues(), seed=seeds, k=st.integers(1, 45), chunk=st.integers(1, 9), data=st.data())
def test_wide_beam_equals_exact_equals_brute_force(catalogue, seed, k, chunk, data):
    codes, widths = catalogue
    trie = Trie.from_codes(codes, widths)
    ties = data.draw(st.booleans())
    scorer = random_scorer(trie, ROWS, seed, ties)
    exclude = data.draw(excluded(len(codes)))
    banned = torch.tensor(exclude).view(ROWS, -1).long()
    truth = dict_scores(codes, scorer)
    scores = exact_scores(scorer, trie, chunk)
    np.testing.assert_allclose(scores, truth, atol=1e-5)  # float32 sums of at most four numbers
    assert torch.equal(scores, exact_scores(scorer, trie))
    if not ties:
        np.testing.assert_allclose(scores.double().exp().sum(1), 1.0, atol=1e-5)
    exact = exact_search(scorer, trie, k, banned, chunk)
    beam = beam_search(scorer, trie, max(trie.n_nodes[:-1]), k, banned)
    assert torch.equal(exact.items, beam.items)
    torch.testing.assert_close(exact.scores, beam.scores, atol=1e-5, rtol=0)
    assert lists(exact.items) == dict_top(scores.numpy(), k, exclude)


@settings(max_examples=60, deadline=None)
@given(catalogue=catalogues(), seed=seeds, data=st.data())
def test_scores_of_given_items(catalogue, seed, data):
    codes, widths = catalogue
    trie = Trie.from_codes(codes, widths)
    scorer = random_scorer(trie, ROWS, seed)
    items = torch.tensor(data.draw(excluded(len(codes)))).view(ROWS, -1).long()
    found = score_items(scorer, trie, items)
    expected = exact_scores(scorer, trie).gather(1, items.clamp(min=0)).masked_fill(items < 0, -torch.inf)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def two_by_two(*leaf_log_probs: float, first: tuple[float, float] = (0.5, 0.5)) -> tuple[Trie, TableScorer]:
    """Items 0..3 at codes 00, 01, 10, 11."""
    trie = Trie.from_codes(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]))
    tables = [torch.tensor([[first]]).log(), torch.tensor([[leaf_log_probs[:2], leaf_log_probs[2:]]]).log()]
    return trie, TableScorer(tables)


def test_by_hand_a_narrow_beam_misses_what_the_exact_search_finds():
    trie, scorer = two_by_two(0.5, 0.5, 0.99, 0.01, first=(0.6, 0.4))  # .30 .30 .396 .004
    assert beam_search(scorer, trie, beams=1, k=3).items.tolist() == [[0, 1, -1]]
    assert beam_search(scorer, trie, beams=2, k=3).items.tolist() == [[2, 0, 1]]
    assert exact_search(scorer, trie, k=3).items.tolist() == [[2, 0, 1]]


def test_impossible_items_are_never_returned():
    trie, scorer = two_by_two(1.0, 0.0, 0.5, 0.5, first=(1.0, 0.0))
    for result in (beam_search(scorer, trie, 2, 4), exact_search(scorer, trie, 4)):
        assert result.items.tolist() == [[0, -1, -1, -1]]
        assert result.scores.tolist() == [[0.0] + [-torch.inf] * 3]


def test_excluded_items_leave_room_for_the_next():
    trie, scorer = two_by_two(0.6, 0.4, 0.6, 0.4)
    exclude = torch.tensor([[2, -1, 0, 2]])
    for result in (beam_search(scorer, trie, 2, 2, exclude), exact_search(scorer, trie, 2, exclude)):
        assert result.items.tolist() == [[1, 3]]


def test_float64_scorers_stay_float64():
    trie, scorer = two_by_two(0.6, 0.4, 0.7, 0.3)
    scorer.tables = [table.double() for table in scorer.tables]
    assert beam_search(scorer, trie, 2, 2).scores.dtype == torch.float64
    assert exact_search(scorer, trie, 2).scores.dtype == torch.float64


def test_a_scorer_that_breaks_the_protocol_is_named():
    trie = Trie.from_codes(np.array([[0, 0], [1, 1]]))
    uniform = [torch.full((1, n, 2), 0.5).log() for n in (1, 2)]
    with pytest.raises(ValueError, match=r"level 1, row 0: .* for code 1 of node 0.*no such child"):
        beam_search(TableScorer(uniform), trie, 2, 4)
    broken = [torch.full((1, n, 2), torch.nan) for n in (1, 2)]
    with pytest.raises(ValueError, match="gave nan"):
        beam_search(TableScorer(broken), trie, 1, 1)
    with pytest.raises(ValueError, match="gave NaN"):
        exact_search(TableScorer(broken), trie, 1)
    with pytest.raises(ValueError, match=r"gave \(1, 1, 3\) at level 0, expected .* \(1, 1, 2\)"):
        beam_search(TableScorer([torch.zeros(1, 1, 3)]), trie, 1, 1)


def test_bad_arguments():
    trie, scorer = two_by_two(0.6, 0.4, 0.7, 0.3)
    with pytest.raises(ValueError, match="beams and k"):
        beam_search(scorer, trie, 0, 1)
    with pytest.raises(ValueError, match="k must be"):
        exact_search(scorer, trie, 0)
    with pytest.raises(ValueError, match="node_chunk"):
        exact_search(scorer, trie, 1, node_chunk=0)
    with pytest.raises(ValueError, match="exclude holds item 4"):
        beam_search(scorer, trie, 1, 1, torch.tensor([[4]]))
    with pytest.raises(ValueError, match="with 1 rows"):
        exact_search(scorer, trie, 1, torch.zeros(2, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match="items holds 4"):
        score_items(scorer, trie, torch.tensor([[4]]))
    with pytest.raises(ValueError, match="with 1 rows"):
        score_items(scorer, trie, torch.tensor([4]))
