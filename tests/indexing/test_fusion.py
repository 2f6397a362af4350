"""Fusion against the same rules written row by row with dictionaries."""

import math

import numpy as np
import pytest
import torch
from catalogues import catalogues, random_scorer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from indexing import Ranked, beam_search, exact_scores, fuse, peakedness, score_items
from indexing.trie import Trie

INF = math.inf
ROWS = 3


@st.composite
def streams(draw: st.DrawFn) -> tuple[Ranked, Ranked, Tensor, Tensor]:
    """Two lists of any lengths cut from two full tables of log-probabilities, and the tables."""
    n_items = draw(st.integers(1, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    tables = [torch.randn(ROWS, n_items, generator=generator).mul(3).log_softmax(1) for _ in range(2)]
    if draw(st.booleans()):  # equal log-probabilities
        tables = [(table * 2).round() / 2 for table in tables]
    lists = []
    for table in tables:
        k = draw(st.integers(1, 14))
        items = torch.full((ROWS, k), -1)
        scores = torch.full((ROWS, k), -INF)
        for row in range(ROWS):
            n = min(draw(st.integers(0, k)), n_items)
            best = sorted(range(n_items), key=lambda item: (-float(table[row, item]), item))[:n]
            items[row, :n] = torch.tensor(best, dtype=torch.int64)
            scores[row, :n] = table[row, best]
        lists.append(Ranked(items, scores))
    return lists[0], lists[1], tables[0], tables[1]


def asker(table: Tensor, asked: list[Tensor]):
    """A stream's callback that reads a table and remembers what it was asked."""

    def score(items: Tensor) -> Tensor:
        asked.append(items)
        return table.gather(1, items.clamp(min=0)).masked_fill(items < 0, torch.nan)  # its padding is never read

    return score


def by_hand(a, b, table_a, table_b, method, weights, temperatures) -> list[dict[int, float]]:
    """Fused score of every item of the union, a dictionary a row."""
    rows = []
    for row in range(ROWS):
        listed = [
            {int(i): float(s) for i, s in zip(x.items[row], x.scores[row], strict=True) if i >= 0} for x in (a, b)
        ]
        used = list(weights)
        if method == "entropy":
            peaks = []
            for values, temperature in zip(listed, temperatures, strict=True):
                p = np.exp(np.array([value / temperature for value in values.values()]))
                p /= p.sum()
                n = len(p)
                peaks.append(0.0 if n == 0 else 1.0 if n == 1 else 1 + float((p * np.log(p)).sum()) / math.log(n))
            raw = [weight * max(peak, 0.0) for weight, peak in zip(weights, peaks, strict=True)]
            if sum(raw) > 1e-6:
                used = [sum(weights) * value / sum(raw) for value in raw]
        scores = {}
        for item in listed[0].keys() | listed[1].keys():
            if method == "confidence":
                scores[item] = max(
                    values[item] / temperature + math.log(weight)
                    for values, temperature, weight in zip(listed, temperatures, weights, strict=True)
                    if item in values
                )
            else:
                sides = (float(table_a[row, item]), float(table_b[row, item]))
                scores[item] = sum(w * s / t for w, s, t in zip(used, sides, temperatures, strict=True))
        rows.append(scores)
    return rows


@settings(max_examples=200, deadline=None)
@given(
    case=streams(),
    method=st.sampled_from(["confidence", "sum", "entropy"]),
    k=st.integers(1, 30),
    weights=st.sampled_from([(1.0, 1.0), (2.0, 0.5), (0.3, 1.0)]),
    temperatures=st.sampled_from([(1.0, 1.0), (2.0, 0.5)]),
)
def test_agrees_with_the_rule_by_hand(case, method, k, weights, temperatures):
    a, b, table_a, table_b = case
    asked_a: list[Tensor] = []
    asked_b: list[Tensor] = []
    flat = method == "entropy" and all(  # both lists flat to rounding: the weights are a matter of the last bit
        bool((peakedness(x.scores / t) < 1e-4).any()) for x, t in zip((a, b), temperatures, strict=True)
    )
    result = fuse(a, b, method, k, asker(table_a, asked_a), asker(table_b, asked_b), weights, temperatures)
    assert all(tensor.shape == (ROWS, k) for tensor in result)
    truth = by_hand(a, b, table_a, table_b, method, weights, temperatures)
    for row, scores in enumerate(truth):
        n = min(k, len(scores))
        items = result.items[row].tolist()
        assert items[n:] == [-1] * (k - n)
        for tensor in result[1:]:
            assert tensor[row, n:].tolist() == [-INF] * (k - n)
        found = result.scores[row, :n].tolist()
        assert set(items[:n]) <= set(scores)
        assert len(set(items[:n])) == n
        pairs = list(zip([-score for score in found], items[:n], strict=True))
        assert pairs == sorted(pairs)  # by score, then by item
        if not flat:
            expected = sorted(scores.values(), reverse=True)[:n]
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(found, [scores[item] for item in items[:n]], rtol=1e-4, atol=1e-4)
        sides = ((a, table_a, result.scores_a), (b, table_b, result.scores_b))
        for listed, table, reported in sides:
            for item, score in zip(items[:n], reported[row, :n].tolist(), strict=True):
                known = method != "confidence" or item in listed.items[row].tolist()
                assert score == (float(table[row, item]) if known else -INF)
    assert len(asked_a) <= (method != "confidence")  # one pass a stream
    assert len(asked_b) <= (method != "confidence")
    for asked, own, other in ((asked_a, a, b), (asked_b, b, a)):
        for items in asked:
            for row in range(ROWS):
                wanted = set(items[row].tolist()) - {-1}
                assert wanted == set(other.items[row].tolist()) - set(own.items[row].tolist()) - {-1}


def one_row(items: list[int], probabilities: list[float]) -> Ranked:
    return Ranked(torch.tensor([items]), torch.tensor([probabilities]).log())


def test_confidence_by_hand():
    a, b = one_row([4, 7, 1], [0.5, 0.3, 0.1]), one_row([7, 2, -1], [0.4, 0.2, 0.0])
    result = fuse(a, b, "confidence", 5)
    assert result.items.tolist() == [[4, 7, 2, 1, -1]]
    np.testing.assert_allclose(result.scores[0].exp(), [0.5, 0.4, 0.2, 0.1, 0.0], rtol=1e-6)
    np.testing.assert_allclose(result.scores_a[0].exp(), [0.5, 0.3, 0.0, 0.1, 0.0], rtol=1e-6)
    np.testing.assert_allclose(result.scores_b[0].exp(), [0.0, 0.4, 0.2, 0.0, 0.0], rtol=1e-6)


def test_a_weight_of_zero_silences_a_stream():
    a, b = one_row([0, 1], [0.6, 0.4]), one_row([1, 2], [0.7, 0.3])

    def all_impossible(items: Tensor) -> Tensor:
        return torch.full(items.shape, -INF)

    assert fuse(a, b, "confidence", 3, weights=(1.0, 0.0)).items.tolist() == [[0, 1, -1]]
    alone = fuse(a, b, "sum", 3, all_impossible, all_impossible, weights=(1.0, 0.0))
    assert alone.items.tolist() == [[0, 1, -1]]
    both = fuse(a, b, "sum", 3, all_impossible, all_impossible)  # a product with 0 is 0
    assert both.items.tolist() == [[1, -1, -1]]


def test_peakedness():
    lists = torch.tensor([[0.0, 0.0, 0.0], [0.0, -INF, -INF], [-INF] * 3, [0.0, -50.0, -50.0], [1.0, 1.0, -INF]])
    np.testing.assert_allclose(peakedness(lists), [0.0, 1.0, 0.0, 1.0, 0.0], atol=1e-6)


def test_equally_peaked_streams_are_summed_and_a_flat_one_is_ignored():
    sure, flat = one_row([0, 1], [0.9, 0.1]), one_row([1, 0], [0.5, 0.5])

    def unused(items: Tensor) -> Tensor:
        raise AssertionError("nothing is missing")

    same = one_row([1, 0], [0.9, 0.1])
    equal = fuse(sure, same, "entropy", 2, unused, unused)
    torch.testing.assert_close(equal.scores, fuse(sure, same, "sum", 2, unused, unused).scores)
    led = fuse(sure, flat, "entropy", 2, unused, unused)
    np.testing.assert_allclose(led.scores[0], 2 * np.log([0.9, 0.1]), rtol=1e-4)
    np.testing.assert_allclose(fuse(flat, flat, "entropy", 2, unused, unused).scores[0], 2 * np.log([0.5] * 2))


@settings(max_examples=40, deadline=None)
@given(first=catalogues(), seed=st.integers(0, 2**20), beams=st.integers(1, 6), k=st.integers(1, 8))
def test_two_tries_of_one_catalogue(first, seed, beams, k):
    """The whole search: two streams with codes of their own, the union scored by both."""
    codes, widths = first
    rng = np.random.default_rng(seed)
    tries = [Trie.from_codes(codes, widths), Trie.from_codes(rng.permutation(codes), widths)]
    scorers = [random_scorer(trie, ROWS, seed + i) for i, trie in enumerate(tries)]
    lists = [beam_search(s, t, beams, k) for s, t in zip(scorers, tries, strict=True)]
    asks = [lambda items, s=s, t=t: score_items(s, t, items) for s, t in zip(scorers, tries, strict=True)]
    result = fuse(*lists, "sum", k, *asks)
    total = sum(exact_scores(s, t) for s, t in zip(scorers, tries, strict=True))
    for row in range(ROWS):
        union = (set(lists[0].items[row].tolist()) | set(lists[1].items[row].tolist())) - {-1}
        expected = sorted((float(total[row, item]) for item in union), reverse=True)[:k]
        np.testing.assert_allclose(result.scores[row, : len(expected)], expected, atol=1e-4)
        real = result.items[row] >= 0
        np.testing.assert_allclose(result.scores[row, real], total[row, result.items[row, real]], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "max"}, "method must be"),
        ({"k": 0}, "k must be"),
        ({"method": "sum"}, "score_a and score_b is missing"),
        ({"weights": (0.0, 0.0)}, "weights must be"),
        ({"weights": (-1.0, 1.0)}, "weights must be"),
        ({"temperatures": (1.0, 0.0)}, "temperatures must be"),
        ({"b": Ranked(torch.zeros(2, 1).long(), torch.zeros(2, 1))}, "1 and 2 rows"),
        ({"a": one_row([3, 3], [0.5, 0.5])}, "item 3 is twice in the a list"),
        ({"b": one_row([3, 3], [0.5, 0.5])}, "item 3 is twice in the b list"),
        (
            {"method": "sum", "score_a": lambda items: items[:, :0], "score_b": lambda items: items[:, :0]},
            r"scores are \(1, 0\), expected \(1, 1\)",
        ),
    ],
)
def test_bad_arguments(change, message):
    arguments = {"a": one_row([0], [1.0]), "b": one_row([1], [1.0]), "method": "confidence", "k": 1} | change
    with pytest.raises(ValueError, match=message):
        fuse(**arguments)
