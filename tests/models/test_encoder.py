"""The encoder: padding, causality, and one pass against one row a prefix."""

import pytest
import torch
from tiny_models import N_ITEMS, SHAPES, TOLERANCE, dense_targets, histories, tiny_model

from gen_rec.models.config import STREAMS

LENGTHS = [4, 1, 6, 0, 3]


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("encoder", ["causal", "bidirectional"])
def test_what_lies_after_the_end_changes_nothing(encoder: str):
    """More padding, garbage in it, other rows beside it: the states of a history stay."""
    model = tiny_model(encoder=encoder)
    history, lengths = histories(LENGTHS)
    base = model.reader().encode(history, lengths)
    wide = torch.nn.functional.pad(history, (0, 5), value=-1)
    garbage = torch.where(wide < 0, torch.randint(N_ITEMS, wide.shape), wide)
    for padded in (wide, garbage):
        found = model.reader().encode(padded, lengths)
        close(found.last, base.last)
        for row, length in enumerate(LENGTHS):
            close(found.states[row, :length], base.states[row, :length])
            assert bool((found.mask[row, :, :, max(1, length) :] == -torch.inf).all())
    for row, length in enumerate(LENGTHS):
        alone = model.reader().encode(history[row : row + 1, : max(1, length)], lengths[row : row + 1])
        close(alone.last[0], base.last[row])
        close(alone.states[0, :length], base.states[row, :length])


@pytest.mark.parametrize("encoder", ["causal", "bidirectional"])
@pytest.mark.parametrize("shape", SHAPES)
def test_log_probabilities_do_not_depend_on_padding_or_companions(encoder: str, shape: dict):
    model = tiny_model(encoder=encoder, **shape)
    history, lengths = histories(LENGTHS)
    targets = torch.tensor([[3], [9], [3], [0], [22]])
    together = model(torch.nn.functional.pad(history, (0, 4), value=7), lengths, targets, summaries=STREAMS)
    for row, length in enumerate(LENGTHS):
        alone = model(
            history[row : row + 1, : max(1, length)], lengths[row : row + 1], targets[row : row + 1], summaries=STREAMS
        )
        for stream, output in alone.items():
            close(output.code_log_probs[0], together[stream].code_log_probs[row])
            close(output.summary[0], together[stream].summary[row])


def test_dense_targets_do_not_depend_on_padding_or_companions():
    model = tiny_model()
    history, lengths = histories([4, 1, 6, 3])
    targets = dense_targets(history)
    wide, far = torch.nn.functional.pad(history, (0, 3), value=5), torch.nn.functional.pad(targets, (0, 3), value=-1)
    together = model(wide, lengths, far, summaries=STREAMS)
    start = 0
    for row, length in enumerate(lengths.tolist()):
        alone = model(history[row : row + 1, :length], lengths[row : row + 1], targets[row : row + 1, :length], STREAMS)
        for stream, output in alone.items():
            close(output.code_log_probs, together[stream].code_log_probs[start : start + length])
            close(output.summary, together[stream].summary[start : start + length])
        start += length


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("changed", [1, 3, 5])
def test_the_future_does_not_leak(shape: dict, changed: int):
    """Other items from ``changed`` on, in histories and targets: nothing before differs, something after does."""
    model = tiny_model(**shape)
    history, lengths = histories([6, 6, 6])
    targets = dense_targets(history)
    other, other_targets = history.clone(), targets.clone()
    other[:, changed:] = (other[:, changed:] + 1 + changed) % N_ITEMS
    other_targets[:, changed:] = (other_targets[:, changed:] + 5) % N_ITEMS
    for stream in STREAMS:
        reader = model.reader(stream)
        before, after = reader.encode(history, lengths, last_only=False), reader.encode(other, lengths, last_only=False)
        close(after.states[:, :changed], before.states[:, :changed])
        assert not torch.allclose(after.states[:, changed:], before.states[:, changed:])
    first, second = model(history, lengths, targets, STREAMS), model(other, lengths, other_targets, STREAMS)
    for stream in first:
        for name in ("code_log_probs", "summary"):
            a = getattr(first[stream], name).unflatten(0, (3, 6))
            b = getattr(second[stream], name).unflatten(0, (3, 6))
            close(b[:, :changed], a[:, :changed])
            assert not torch.allclose(b[:, changed:], a[:, changed:])


def test_gradients_reach_no_later_item_and_no_padding():
    model = tiny_model(dropout=0.0)
    history, lengths = torch.tensor([[0, 1, 2, 3, -1, -1], [10, 11, 12, 13, 14, 15]]), torch.tensor([4, 6])
    vectors = model.reader().items(history.clamp(min=0)).detach().requires_grad_()
    states = model.reader().encoder(vectors, lengths, False).states
    for position in range(4):
        (gradient,) = torch.autograd.grad(states[:, position].square().sum(), vectors, retain_graph=True)
        reached = gradient.abs().sum(-1) > 0
        expected = torch.arange(6) <= position
        assert torch.equal(reached, expected.expand(2, 6))
    (gradient,) = torch.autograd.grad(states.square().sum(), vectors)
    assert not gradient[0, 4:].any()


def test_a_bidirectional_encoder_sees_the_whole_history_and_refuses_dense_targets():
    model = tiny_model(encoder="bidirectional")
    history, lengths = histories([6])
    other = history.clone()
    other[:, -1] = (other[:, -1] + 1) % N_ITEMS
    assert not torch.allclose(
        model.reader().encode(history, lengths).states[:, 0], model.reader().encode(other, lengths).states[:, 0]
    )
    with pytest.raises(ValueError, match=r"must have 1 column\(s\) with the bidirectional encoder .*6 items, got 6"):
        model(history, lengths, dense_targets(history))
    with pytest.raises(ValueError, match=r"must have 1 or 6 column\(s\) with the causal encoder .*, got 4"):
        tiny_model()(history, lengths, dense_targets(history)[:, :4])


@pytest.mark.parametrize("shape", SHAPES)
def test_one_causal_pass_equals_one_row_for_each_prefix(shape: dict):
    model = tiny_model(**shape)
    history, lengths = histories([5, 2, 6, 1])
    targets = dense_targets(history)
    dense = model(history, lengths, targets, summaries=STREAMS)
    rows = [(row, end) for row, length in enumerate(lengths.tolist()) for end in range(1, length + 1)]
    prefixes = torch.stack([history[row].masked_fill(torch.arange(6) >= end, -1) for row, end in rows])
    following = torch.stack([targets[row, end - 1 : end] for row, end in rows])
    single = model(prefixes, torch.tensor([end for _, end in rows]), following, summaries=STREAMS)
    for stream, output in dense.items():
        assert torch.equal(output.nodes, single[stream].nodes)
        close(single[stream].code_log_probs, output.code_log_probs)
        close(single[stream].summary, output.summary)


def test_an_empty_history_is_one_state_of_no_item():
    """The stated definition: a zero vector sent through the layers, the same whatever lies in the row."""
    for encoder in ("causal", "bidirectional"):
        model = tiny_model(encoder=encoder)
        empty = model.reader().encode(torch.tensor([[-1, -1, -1], [4, 5, 6]]), torch.tensor([0, 0]))
        expected = model.reader().encoder(torch.zeros(1, 1, 12, dtype=torch.float64), torch.tensor([1]), True)
        for row in range(2):
            close(empty.last[row], expected.last[0])
        assert bool(empty.states.isfinite().all())


def test_float32_agrees_with_float64():
    """1e-4: float32 keeps seven digits of log-probabilities of size ten, through four layers."""
    history, lengths = histories(LENGTHS)
    targets = torch.tensor([[3], [9], [3], [0], [22]])
    exact = tiny_model()(history, lengths, targets, STREAMS)
    rounded = tiny_model().float()(history, lengths, targets, STREAMS)
    for stream, output in rounded.items():
        torch.testing.assert_close(output.code_log_probs.double(), exact[stream].code_log_probs, atol=1e-4, rtol=1e-4)
