"""Retrieval: the beam against the exact search, both against a loop over items, exclusion, fusion, batching."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from tiny_models import N_ITEMS, histories, tiny_model
from torch import Tensor

from gen_rec.data.interactions import Sequences
from gen_rec.models.two_stream import TwoStreamModel
from gen_rec.retrieval import Rankings, SearchConfig, search, search_cases, take, without

LENGTHS = [4, 1, 6, 0]
FUSIONS = ["confidence", "sum", "entropy"]
EPS = 1e-9
"""Float64 log-probabilities of size ten, summed in another order."""


def config_of(**settings) -> SearchConfig:
    return SearchConfig(**{"beams": N_ITEMS, "behavior_weight": 0.3, **settings})


def excluded() -> Tensor:
    return torch.tensor([[3, 9, -1], [0, -1, -1], [22, 21, 20], [-1, -1, -1]])


@torch.no_grad()
def truth(model: TwoStreamModel, history: Tensor, lengths: Tensor) -> dict[str, np.ndarray]:
    """(rows, n_items) a stream: each item as the known target of each history, one at a time."""
    scores = {stream: np.empty((len(history), N_ITEMS)) for stream in model.streams}
    for row in range(len(history)):
        for item in range(N_ITEMS):
            n = max(1, int(lengths[row]))
            output = model(history[row : row + 1, :n], lengths[row : row + 1], torch.tensor([[item]]))
            for stream, table in scores.items():
                table[row, item] = float(output[stream].code_log_probs.sum())
    return scores


@cache
def known() -> tuple[TwoStreamModel, Tensor, Tensor, dict[str, np.ndarray]]:
    """A model, histories and the true scores, for tests that only read them."""
    model, (history, lengths) = tiny_model(), histories(LENGTHS)
    return model, history, lengths, truth(model, history, lengths)


def fused_by_hand(a: np.ndarray, b: np.ndarray, fusion: str, weight: float) -> np.ndarray:
    """The fused score of each item of one row when both streams listed all of ``a`` and ``b``."""
    if fusion == "confidence":
        return np.maximum(a + math.log(weight), b + math.log(1 - weight))
    weights = [weight, 1 - weight]
    if fusion == "entropy":
        certain = []
        for scores, share in zip((a, b), weights, strict=True):
            p = np.exp(scores) / np.exp(scores).sum()
            certain.append(share * (1 + (p * np.log(p)).sum() / math.log(len(p))))
        weights = [c / sum(certain) for c in certain]
    return weights[0] * a + weights[1] * b


def same(a: Rankings, b: Rankings) -> None:
    for stream, found in a.streams.items():
        assert torch.equal(found.items, b.streams[stream].items)
        torch.testing.assert_close(found.scores, b.streams[stream].scores, atol=EPS, rtol=0)
    assert (a.fused is None) == (b.fused is None)
    if a.fused is not None and b.fused is not None:
        assert torch.equal(a.fused.items, b.fused.items)
        for x, y in zip(a.fused[1:], b.fused[1:], strict=True):
            torch.testing.assert_close(x, y, atol=EPS, rtol=0)


@pytest.mark.parametrize("method", ["beam", "exact"])
@pytest.mark.parametrize("fusion", FUSIONS)
def test_lists_equal_a_loop_over_items(method: str, fusion: str):
    """Wide beams and long lists: the whole catalogue is ranked, raw and without some items."""
    model, history, lengths, scores = known()
    config = config_of(method=method, fusion=fusion)
    banned = excluded()
    results = search(model, history, lengths, N_ITEMS, [None, banned], config)
    assert len(results) == 2
    for found, exclude in zip(results, (torch.full((4, 1), -1), banned), strict=True):
        assert list(found.streams) == ["behavior", "semantic"]
        for row in range(4):
            allowed = np.setdiff1d(np.arange(N_ITEMS), exclude[row].numpy())
            n = len(allowed)
            a, b = scores["behavior"][row, allowed], scores["semantic"][row, allowed]
            for stream, values in (("behavior", a), ("semantic", b)):
                order = np.argsort(-values)
                assert found.streams[stream].items[row].tolist() == [*allowed[order], *[-1] * (N_ITEMS - n)]
                np.testing.assert_allclose(found.streams[stream].scores[row, :n], values[order], atol=EPS)
                assert bool((found.streams[stream].scores[row, n:] == -torch.inf).all())
            fused = fused_by_hand(a, b, fusion, 0.3)
            order = np.argsort(-fused)
            assert found.fused is not None
            assert found.fused.items[row].tolist() == [*allowed[order], *[-1] * (N_ITEMS - n)]
            np.testing.assert_allclose(found.fused.scores[row, :n], fused[order], atol=EPS)
            np.testing.assert_allclose(found.fused.scores_a[row, :n], a[order], atol=EPS)
            np.testing.assert_allclose(found.fused.scores_b[row, :n], b[order], atol=EPS)
            assert bool((torch.stack(found.fused[1:])[:, row, n:] == -torch.inf).all())


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("k", [1, 5, N_ITEMS, 40])
def test_wide_beams_agree_with_the_exact_search(fusion: str, k: int):
    model, (history, lengths) = tiny_model(encoder="bidirectional"), histories(LENGTHS)
    wide = search(model, history, lengths, k, [None, excluded()], config_of(method="beam", fusion=fusion))
    exact = search(model, history, lengths, k, [None, excluded()], config_of(method="exact", fusion=fusion))
    for a, b in zip(wide, exact, strict=True):
        if fusion == "sum" and k < N_ITEMS:  # exact sums the whole catalogue, a beam only what a stream listed
            same(Rankings(a.streams, None), Rankings(b.streams, None))
            assert a.fused is not None
            assert b.fused is not None
            assert bool((b.fused.scores >= a.fused.scores - EPS).all())
        else:
            same(a, b)


@pytest.mark.parametrize("method", ["beam", "exact"])
def test_sum_asks_each_stream_for_what_only_the_other_listed(method: str):
    """Short lists: both streams' log-probabilities of every fused item are the true ones."""
    model, history, lengths, scores = known()
    (found,) = search(model, history, lengths, 4, [None], config_of(method=method, beams=3))
    assert found.fused is not None
    for row in range(4):
        items = found.fused.items[row].tolist()
        assert len(set(items)) == 4
        np.testing.assert_allclose(found.fused.scores_a[row], scores["behavior"][row, items], atol=EPS)
        np.testing.assert_allclose(found.fused.scores_b[row], scores["semantic"][row, items], atol=EPS)
        total = 0.3 * scores["behavior"][row] + 0.7 * scores["semantic"][row]
        np.testing.assert_allclose(found.fused.scores[row], total[items], atol=EPS)
        if method == "exact":
            assert items == np.argsort(-total)[:4].tolist()


@pytest.mark.parametrize("method", ["beam", "exact"])
def test_entropy_does_not_depend_on_how_many_items_are_asked_for(method: str):
    """How certain a stream is comes from a list of one length: evaluate (21 items) and recommend (10) agree."""
    model, history, lengths, scores = known()
    config = config_of(method=method, fusion="entropy")
    short, long = (search(model, history, lengths, k, [excluded()], config)[0] for k in (10, 21))
    assert short.fused is not None
    assert long.fused is not None
    assert torch.equal(short.fused.items, long.fused.items[:, :10])
    for a, b in zip(short.fused[1:], long.fused[1:], strict=True):
        assert torch.equal(a, b[:, :10])
    for stream, found in short.streams.items():
        assert torch.equal(found.items, long.streams[stream].items[:, :10])
    # Shorter lists would have said something else: the test would notice.
    whole, cut = (
        fused_by_hand(*(np.sort(scores[stream][0])[::-1][:n] for stream in scores), "entropy", 0.3)[:10]
        for n in (N_ITEMS, 10)
    )
    assert not np.allclose(whole, cut, atol=1e-6)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(("method", "beams"), [("exact", 1), ("beam", 3), ("beam", N_ITEMS)])
def test_excluded_items_never_come_back_and_are_removed_before_the_cut(method: str, beams: int, fusion: str):
    model, (history, lengths) = tiny_model(), histories(LENGTHS)
    config = config_of(method=method, beams=beams, fusion=fusion)
    (raw,) = search(model, history, lengths, 6, [None], config)
    assert raw.fused is not None
    best = raw.fused.items[:, :3].contiguous()
    again, filtered = search(model, history, lengths, 3, [None, best], config)
    same(again, search(model, history, lengths, 3, [None], config)[0])  # one call does not colour the next
    lists = [*(found.items for found in filtered.streams.values()), filtered.fused.items]
    for items in lists:
        assert not bool((items[:, :, None] == best[:, None, :]).any())
        if beams > 3 or method == "exact":
            assert bool((items >= 0).all())  # removed before the cut: the list is full all the same


def test_everything_excluded_gives_empty_lists():
    model, (history, lengths) = tiny_model(), histories(LENGTHS)
    everything = torch.arange(N_ITEMS).expand(4, -1)
    for method in ("beam", "exact"):
        for fusion in FUSIONS:
            (found,) = search(model, history, lengths, 5, [everything], config_of(method=method, fusion=fusion))
            for ranked in (*found.streams.values(), found.fused):
                assert bool((ranked.items == -1).all())
                assert bool((ranked.scores == -torch.inf).all())


@pytest.mark.parametrize("method", ["beam", "exact"])
@pytest.mark.parametrize("stream", ["behavior", "semantic"])
def test_one_stream_has_its_own_list_and_nothing_to_fuse(method: str, stream: str):
    model, (history, lengths) = tiny_model(streams=[stream]), histories(LENGTHS)
    scores = truth(model, history, lengths)[stream]
    (found,) = search(model, history, lengths, 5, [None], config_of(method=method))
    assert list(found.streams) == [stream]
    assert found.fused is None
    assert found.streams[stream].items.tolist() == np.argsort(-scores, axis=1)[:, :5].tolist()


@pytest.mark.parametrize("method", ["beam", "exact"])
def test_the_weight_is_that_of_behaviour_whatever_the_order_of_the_settings(method: str):
    first, second = tiny_model(), tiny_model(seed=3, streams=["semantic", "behavior"])
    second.load_state_dict(first.state_dict())
    history, lengths = histories(LENGTHS)
    config = config_of(method=method, behavior_weight=0.9)
    same(*(search(model, history, lengths, 6, [None], config)[0] for model in (first, second)))


def test_search_has_no_dropout_no_gradient_and_leaves_the_mode_as_it_was():
    model, (history, lengths) = tiny_model(dropout=0.5), histories(LENGTHS)
    (expected,) = search(model, history, lengths, 6, [None], config_of())
    assert not model.training
    model.train()
    (found,) = search(model, history, lengths, 6, [None], config_of())
    assert model.training
    assert model.reader().encoder.dropout.training
    same(found, expected)
    assert not found.fused.scores.requires_grad
    for method in ("beam", "exact"):
        with pytest.raises(ValueError, match=r"exclude must be \(rows, m\) with 4 rows, got \(2, 2\)"):
            search(model, history, lengths, 6, [torch.zeros(2, 2, dtype=torch.int64)], config_of(method=method))
        with pytest.raises(ValueError, match=r"exclude holds item 23, but the trie has the items 0\.\.22"):
            search(model, history, lengths, 6, [torch.full((4, 1), N_ITEMS)], config_of(method=method))
        with pytest.raises(ValueError, match="k must be at least 1, got 0"):
            search(model, history, lengths, 0, [None], config_of(method=method))
    assert model.training  # also after an error


def ragged(lengths: list[int]) -> Sequences:
    rng = np.random.default_rng(0)
    items = rng.integers(0, N_ITEMS, sum(lengths)).astype(np.int32)
    return Sequences(np.cumsum([0, *lengths]), items, np.arange(len(lengths), dtype=np.int32))


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("method", ["beam", "exact"])
def test_cases_in_batches_equal_each_alone(batch_size: int, method: str):
    """Histories longer than the model reads: it sees the last six items, filtering removes all of them."""
    model, cases = tiny_model(), ragged([3, 9, 0, 1, 12, 3, 6])
    rows = np.array([6, 1, 4, 2, 0])
    config = config_of(method=method, batch_size=batch_size)
    found = list(search_cases(model, cases, rows, N_ITEMS, config))
    order = np.concatenate([batch for batch, _, _ in found])
    assert sorted(order.tolist()) == sorted(rows.tolist())
    assert np.all(np.diff(cases.lengths[order]) >= 0)  # of like length together
    assert all(len(batch) <= batch_size for batch, _, _ in found)
    for batch, raw, filtered in found:
        for i, row in enumerate(batch):
            seen = cases[row].tolist()
            recent = torch.tensor([seen[-6:] or [-1]])
            length = torch.tensor([min(len(seen), 6)])
            exclude = torch.tensor([seen or [-1]])
            alone = search(model, recent, length, N_ITEMS, [None, exclude], config)
            for one, many in zip(alone, (raw, filtered), strict=True):
                assert many.fused.items[i].tolist() == one.fused.items[0].tolist()
                torch.testing.assert_close(many.fused.scores[i], one.fused.scores[0], atol=EPS, rtol=0)
                for stream, ranked in one.streams.items():
                    assert many.streams[stream].items[i].tolist() == ranked.items[0].tolist()
            assert not set(filtered.fused.items[i].tolist()) & set(seen)
            assert set(filtered.fused.items[i].tolist()) - {-1} == set(range(N_ITEMS)) - set(seen)


def test_no_rows_no_batches():
    assert list(search_cases(tiny_model(), ragged([3]), np.array([], dtype=np.int64), 5, config_of())) == []


def test_take_keeps_lists_and_their_users():
    cases = ragged([3, 0, 4, 2])
    some = take(cases, np.array([2, 0, 1, 2]))
    assert [list(some[i]) for i in range(4)] == [list(cases[i]) for i in (2, 0, 1, 2)]
    assert some.user.tolist() == [2, 0, 1, 2]


def test_without_is_a_copy_and_minus_one_excludes_nothing():
    scores = torch.arange(6.0).view(2, 3)
    found = without(scores, torch.tensor([[-1, 2, 2], [-1, -1, -1]]))
    assert found.tolist() == [[0, 1, -math.inf], [3, 4, 5]]
    assert torch.equal(scores, torch.arange(6.0).view(2, 3))
    assert torch.equal(without(scores, torch.empty(2, 0, dtype=torch.int64)), scores)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beams": 0}, r"search\.beams must be at least 1, got 0"),
        ({"batch_size": 0}, r"search\.batch_size must be at least 1, got 0"),
        (
            {"precision": "float16"},
            r"search\.precision must be one of \['float32', 'bfloat16', 'auto'\], got 'float16'",
        ),
        ({"behavior_weight": 0.0}, r"search\.behavior_weight must lie strictly between 0 and 1, got 0\.0; .*streams"),
        ({"behavior_weight": 1.0}, r"search\.behavior_weight must lie strictly between 0 and 1, got 1\.0"),
    ],
)
def test_settings_refused(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        SearchConfig(**settings)


@pytest.mark.parametrize("method", ["beam", "exact"])
def test_precision_of_products(method: str, monkeypatch: pytest.MonkeyPatch):
    """float32, the default, leaves the weights' own type; auto is one of the two, as the processor has it."""
    model = tiny_model().float()
    cases = histories([4, 1, 6, 0])

    def scores(**settings) -> torch.Tensor:
        (found,) = search(model, *cases, N_ITEMS, [None], config_of(method=method, **settings))
        return found.fused.scores

    plain, rounded = scores(), scores(precision="bfloat16")
    assert torch.equal(plain, scores(precision="float32"))
    assert not torch.equal(plain, rounded)
    for native, expected in ((True, rounded), (False, plain)):
        monkeypatch.setattr("gen_rec.precision.multiplies_bfloat16", lambda native=native: native)
        assert torch.equal(scores(precision="auto"), expected)


@pytest.mark.parametrize("fusion", ["sum", "confidence", "entropy"])
@pytest.mark.parametrize("method", ["beam", "exact"])
def test_only_the_best_are_the_same_best(method: str, fusion: str):
    model, cases = tiny_model(), histories([4, 1, 6, 0])
    config = config_of(method=method, fusion=fusion)
    excludes = [None, cases[0]]
    every = search(model, *cases, 5, excludes, config)
    best = search(model, *cases, 5, excludes, config, only_best=True)
    for a, b in zip(every, best, strict=True):
        for expected, found in zip(a.fused, b.fused, strict=True):
            assert torch.equal(expected, found)
