"""Streams with readers of their own: what is shared and what is not, against models of one stream each."""

from typing import Any

import pytest
import torch
from tiny_models import TOLERANCE, dense_targets, histories, tiny_model

from gen_rec.models.config import STREAMS
from gen_rec.models.reader import HistoryReader
from gen_rec.models.two_stream import TwoStreamModel
from gen_rec.retrieval import SearchConfig, search

LENGTHS = [4, 1, 6, 0]


def parted_model() -> tuple[TwoStreamModel, dict[str, TwoStreamModel]]:
    """A model whose streams share nothing, and for each stream a model of that one alone with the same weights."""
    model = tiny_model(3, shared_encoder=False)
    alone = {name: tiny_model(4, streams=[name]) for name in STREAMS}
    for name, single in alone.items():
        single.reader().load_state_dict(model.reader(name).state_dict())
        single.streams[name].load_state_dict(model.streams[name].state_dict())
    return model, alone


@torch.no_grad()
@pytest.mark.parametrize("dense", [True, False])
def test_streams_with_readers_of_their_own_are_models_of_their_own(dense: bool):
    model, alone = parted_model()
    history, lengths = histories([4, 1, 6])
    targets = dense_targets(history) if dense else torch.tensor([[3], [0], [22]])
    found = model(history, lengths, targets, STREAMS)
    assert list(found) == list(STREAMS)
    for name, output in found.items():
        expected = alone[name](history, lengths, targets, STREAMS)[name]
        assert torch.equal(output.nodes, expected.nodes)
        torch.testing.assert_close(output.code_log_probs, expected.code_log_probs, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(output.summary, expected.summary, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("method", ["beam", "exact"])
def test_a_search_reads_once_for_every_reader(method: Any, monkeypatch: pytest.MonkeyPatch):
    model, alone = parted_model()
    history, lengths = histories(LENGTHS)
    calls: list[HistoryReader] = []
    encode = HistoryReader.encode
    monkeypatch.setattr(HistoryReader, "encode", lambda self, *a, **k: (calls.append(self), encode(self, *a, **k))[1])
    config = SearchConfig(method=method, beams=30)
    (found,) = search(model, history, lengths, 8, [None], config)
    assert calls == [model.reader("behavior"), model.reader("semantic")]
    for name, listed in found.streams.items():
        (expected,) = search(alone[name], history, lengths, 8, [None], config)
        assert torch.equal(listed.items, expected.streams[name].items)
        torch.testing.assert_close(listed.scores, expected.streams[name].scores, atol=TOLERANCE, rtol=0)
    calls.clear()
    shared = tiny_model()
    search(shared, history, lengths, 8, [None], config)
    assert calls == [shared.reader()]


def test_only_a_stream_s_own_loss_reaches_its_reader():
    model, _ = parted_model()
    history, lengths = histories([4, 1, 6])
    outputs = model(history, lengths, dense_targets(history))
    for name, other in (STREAMS, STREAMS[::-1]):
        model.zero_grad()
        outputs[name].code_log_probs.sum().backward(retain_graph=True)
        assert all(
            weight.grad is not None and bool(weight.grad.any()) for weight in model.reader(name).items.parameters()
        )
        assert all(weight.grad is None or not weight.grad.any() for weight in model.reader(other).parameters())


def test_readers_are_as_many_as_are_asked_for():
    assert list(tiny_model().readers) == ["shared"]
    shared = tiny_model()
    assert shared.reader("behavior") is shared.reader("semantic") is shared.reader()
    assert list(tiny_model(shared_encoder=False).readers) == list(STREAMS)
    assert list(tiny_model(shared_encoder=False, streams=["semantic"]).readers) == ["semantic"]
    with pytest.raises(KeyError):
        tiny_model(shared_encoder=False).reader()
