"""What a history's own items are worth: by hand, and against a plain softmax over moved scores."""

from typing import Any

import pytest
import torch
from tiny_models import SHAPES, TOLERANCE, histories, tiny_model

from gen_rec.models.repeat_bias import RepeatBias, Seen, of_parents
from gen_rec.models.scoring import stream_scorers
from gen_rec.models.siblings import sibling_log_probs
from gen_rec.models.softmax_share import log_share
from indexing import Trie, exact_scores


def test_each_item_stands_once_at_its_last_distance_and_the_future_is_not_seen():
    bias = RepeatBias(3)
    with torch.no_grad():
        bias.table.copy_(torch.tensor([-1.0, -2.0, -3.0]))
    history = torch.tensor([[7, 8, 7, 9, 8], [4, 5, -1, -1, -1]])
    seen = bias(history, torch.tensor([0, 0, 0, 1, 1]), torch.tensor([4, 2, 0, 1, -1]))
    # items four and more back share the last number
    assert seen.items.tolist() == [
        [-1, -1, 7, 9, 8], [-1, 8, 7, -1, -1], [7, -1, -1, -1, -1], [4, 5, -1, -1, -1], [-1, -1, -1, -1, -1],
    ]  # fmt: skip
    assert seen.bias.tolist() == [
        [0, 0, -3, -2, -1], [0, -2, -1, 0, 0], [-1, 0, 0, 0, 0], [-2, -1, 0, 0, 0], [0, 0, 0, 0, 0],
    ]  # fmt: skip


def test_children_among_the_seen_are_found_with_their_places():
    seen = Seen(torch.tensor([[5, -1, 6], [5, 2, -1]]), torch.zeros(2, 3))
    row, which, where = of_parents(seen, torch.tensor([[1, 0, 2], [1, 0, 0]]), torch.tensor([[2, 0], [1, 0]]))
    assert list(zip(row.tolist(), which.tolist(), where.tolist(), strict=True)) == [(0, 2, 0), (1, 0, 0), (1, 1, 1)]


def moved_scores() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    states, vectors = (torch.randn(n, 5, generator=generator, dtype=torch.float64).requires_grad_() for n in (3, 7))
    rows = torch.tensor([[6, -1], [2, 0], [-1, -1]])
    by = torch.tensor([[-2.0, 0.0], [1.0, -0.5], [0.0, 0.0]], dtype=torch.float64).requires_grad_()
    return states, vectors, rows, by


def test_shares_of_moved_scores_and_their_gradients_are_those_of_the_plain_softmax():
    states, vectors, rows, by = moved_scores()
    members = torch.tensor([[3, 6], [5, -1], [1, 2]])
    plain = (states @ vectors.T).scatter_add(1, rows.clamp(min=0), by).softmax(1)
    expected = torch.stack([row[some[some >= 0]].sum() for row, some in zip(plain, members, strict=True)]).log()
    found = log_share(states, vectors, members, rows, by)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    given = (states, vectors, by)
    ours, theirs = torch.autograd.grad(found.sum(), given), torch.autograd.grad(expected.sum(), given)
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        real = rows >= 0 if number == 2 else slice(None)  # what stands for none has no gradient that anyone takes
        torch.testing.assert_close(one[real], other[real], atol=1e-12, rtol=0)


@pytest.mark.parametrize("level", [0, 1])
def test_moved_siblings_equal_a_loop(level: int):
    trie = Trie.from_codes(torch.tensor([[0, 0], [0, 2], [1, 1], [2, 0], [2, 1], [2, 2]]), [3, 3])
    generator = torch.Generator().manual_seed(1)
    n_below = trie.n_nodes[level + 1]
    states = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    vectors = torch.randn(n_below, 4, generator=generator, dtype=torch.float64)
    asked = torch.randint(n_below, (40,), generator=generator)
    items = torch.stack([torch.randperm(n_below, generator=generator)[:2] for _ in range(40)])
    items[torch.rand(40, 2, generator=generator) < 0.3] = -1
    by = torch.randn(40, 2, generator=generator, dtype=torch.float64).masked_fill(items < 0, 0.0).requires_grad_()
    parents, owners = trie.parents_at(level + 1, asked), trie.parents(level + 1)
    scores = (states @ vectors.T).scatter_add(1, items.clamp(min=0), by)
    expected = torch.stack([scores[i, asked[i]] - scores[i, owners == parents[i]].logsumexp(0) for i in range(40)])
    codes = trie.codes_at(level + 1, asked)
    found = sibling_log_probs(states, parents, codes, level, vectors, trie, Seen(items, by))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    (one,), (other,) = (torch.autograd.grad(x.sum(), by) for x in (found, expected))
    torch.testing.assert_close(one[items >= 0], other[items >= 0], atol=1e-12, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_forbidden_takes_no_part_where_the_first_code_knows_the_leaves(shape: dict[str, Any]):
    """In a tree of two levels that looks ahead, an item of weight zero is as if it were filtered."""
    model = tiny_model(**shape)
    for stream in model.streams:
        repeats = model.reader(stream).repeats
        assert repeats is not None
        repeats.table.fill_(-100.0)
    history, lengths = histories([4, 1, 6])
    for name, scorer in stream_scorers(model, history, lengths).items():
        decoder = model.streams[name]
        scores = exact_scores(scorer, decoder.trie)
        close = scores.exp().sum(1) - 1.0
        assert float(close.abs().max()) < TOLERANCE  # in any tree it stays a distribution
        if decoder.look_ahead and decoder.trie.depth == 2:
            for row, length in enumerate(lengths.tolist()):
                own = history[row, :length].unique()
                assert bool((scores[row, own] < -50).all())
                assert float(scores[row].exp().sum() - scores[row, own].exp().sum()) == pytest.approx(
                    1.0, abs=TOLERANCE
                )


def test_it_learns_that_people_come_back():
    """Where the last item is the target, the loss falls by raising what the last item is worth."""
    model = tiny_model()
    assert model.reader().repeats is not None
    history, lengths = histories([4, 4])
    outputs = model(history, lengths, history[:, 3:4])
    loss = -torch.stack([output.code_log_probs.sum() for output in outputs.values()]).sum()
    (gradient,) = torch.autograd.grad(loss, model.reader().repeats.table)
    assert gradient[0] < 0
