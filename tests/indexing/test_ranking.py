"""The deterministic top-k against a full sort, and the example of the package's docstring."""

import doctest

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import indexing
from indexing.ranking import ranked, top_k


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.sampled_from([-torch.inf, 0.0, 1.0, 2.0]), min_size=9, max_size=9), min_size=1, max_size=4
    ),
    k=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_ties_at_the_cut_go_to_the_smallest_key(rows, k, seed):
    scores = torch.tensor(rows)
    keys = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(seed + r)) for r in range(len(rows))])
    for used, given_keys in ((None, torch.arange(9).expand_as(keys)), (keys.__getitem__, keys)):
        values, columns = top_k(scores, k, used)
        assert torch.equal(values, scores.gather(1, columns))
        for row in range(len(rows)):
            pairs = sorted((-float(s), int(key)) for s, key in zip(scores[row], given_keys[row], strict=True))[:k]
            best = [pair for pair in pairs if pair[0] < torch.inf]  # which -inf are taken is left open
            found = [(-float(scores[row, c]), int(given_keys[row, c])) for c in columns[row]]
            assert sorted(pair for pair in found if pair[0] < torch.inf) == best
            assert len({int(c) for c in columns[row]}) == min(k, 9)


def test_ranked_sorts_cuts_and_pads():
    items = torch.tensor([[5, 3, -1, 4], [7, 8, 9, 6]])
    scores = torch.tensor([[1.0, 1.0, 9.0, -torch.inf], [0.0, 2.0, 1.0, 2.0]])
    assert ranked(items, scores, 3).items.tolist() == [[3, 5, -1], [6, 8, 9]]
    longer = ranked(items, scores, 6)
    assert longer.items.tolist() == [[3, 5, -1, -1, -1, -1], [6, 8, 9, 7, -1, -1]]
    assert longer.scores[0, 2:].tolist() == [-torch.inf] * 4


def test_the_example_of_the_package_runs():
    result = doctest.testmod(indexing)
    assert result.attempted >= 10
    assert result.failed == 0
