"""The first code by looking ahead, against the softmax over the level below it."""

import pytest
import torch
from tiny_models import N_ITEMS, TOLERANCE, tiny_model

from gen_rec.models.config import ModelConfig
from gen_rec.models.look_ahead import all_branch_log_probs, branch_log_probs
from gen_rec.models.two_stream import TwoStreamModel
from indexing import Trie

TRIE = Trie.from_codes(torch.tensor([[0, 0], [0, 2], [3, 1], [2, 0], [2, 1], [2, 2]]), [4, 3])  # no branch 1
"""Nodes of level 1, by code 0, 2, 3: items 0 and 1; 3, 4 and 5; 2."""


def test_a_branch_has_what_the_softmax_below_gives_its_children():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    vectors = torch.randn(6, 4, generator=generator, dtype=torch.float64)
    softmax = (states @ vectors.T).softmax(1)  # (5, 6), level 2 in lexicographic order
    expected = torch.stack([softmax[:, :2].sum(1), softmax[:, 2:5].sum(1), softmax[:, 5]], 1).log()
    for branch in range(3):
        found = branch_log_probs(states, torch.full((5,), branch), vectors, TRIE)
        torch.testing.assert_close(found, expected[:, branch], atol=1e-12, rtol=0)
    children = TRIE.children(1, torch.arange(3))
    absent = torch.zeros(3, 1, 3, dtype=torch.float64).masked_fill((children < 0)[:, None], -torch.inf)
    every = all_branch_log_probs(states, vectors[children.clamp(min=0)], absent, TRIE)
    torch.testing.assert_close(every[:, [0, 2, 3]], expected, atol=1e-12, rtol=0)
    assert bool((every[:, 1] == -torch.inf).all())


def test_extreme_scores_stay_finite_and_learn():
    states = torch.tensor([[300.0]], requires_grad=True)
    vectors = torch.tensor([[1.0], [2.0], [-3.0], [-3.0], [-3.0], [3.0]], requires_grad=True)
    found = branch_log_probs(states, torch.tensor([1]), vectors, TRIE)
    assert found.item() == pytest.approx(-1800 + torch.tensor(3.0).log().item(), abs=1e-3)
    found.sum().backward()
    assert states.grad is not None
    assert vectors.grad is not None
    assert bool(states.grad.isfinite().all() and vectors.grad.isfinite().all())


@torch.no_grad()
def test_with_one_state_for_all_codes_the_tree_is_the_flat_softmax():
    model = tiny_model(look_ahead=True)
    decoder = model.streams["behavior"]  # two levels
    vectors = decoder.node_vectors(model.reader().items.vectors())
    states = torch.randn(N_ITEMS, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    nodes = decoder.trie.item_nodes  # every item once
    found = decoder.code_log_probs(states.expand(2, -1, -1), nodes, vectors, None).sum(1)
    flat = (states @ vectors[1].T).log_softmax(1).gather(1, nodes[:, 1:])[:, 0]
    torch.testing.assert_close(found, flat, atol=TOLERANCE, rtol=0)


def test_shared_vectors_do_not_look_ahead():
    """They would score every branch alike."""
    model = tiny_model(look_ahead=True, code_embedding="level", item_content=False)
    assert not any(decoder.look_ahead for decoder in model.streams.values())


@torch.no_grad()
def test_a_tree_of_one_level_has_nothing_ahead():
    codes = torch.arange(N_ITEMS)[:, None]
    config = ModelConfig(
        streams=["behavior"], hidden_size=8, num_heads=2, inner_size=8, look_ahead=True, item_content=False,
        code_content=False,
    )  # fmt: skip
    model = TwoStreamModel(config, {"behavior": Trie.from_codes(codes)}, None)
    assert not model.streams["behavior"].look_ahead
