"""Grouped sibling products against one dot product at a time."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gen_rec.models.siblings import group_by_parent, sibling_log_probs
from indexing import Trie


@st.composite
def tries(draw: st.DrawFn) -> Trie:
    """Depth 1 to 4, uneven nodes, items in any order, widths with room to spare, either layout."""
    depth = draw(st.integers(1, 4))
    widths = draw(st.lists(st.integers(1, 6), min_size=depth, max_size=depth))
    code = st.tuples(*(st.integers(0, width - 1) for width in widths))
    rows = draw(st.lists(code, min_size=1, max_size=30, unique=True))
    layout = draw(st.sampled_from(["dense", "csr"]))
    return Trie.from_codes(torch.tensor(rows).view(len(rows), depth), widths, layout)


@settings(max_examples=100, deadline=None)
@given(trie=tries(), n=st.integers(1, 80), seed=st.integers(0, 2**20))
def test_log_probs_equal_a_loop_over_targets_and_children(trie: Trie, n: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    for level in range(trie.depth):
        states = torch.randn(n, 3, generator=generator, dtype=torch.float64)
        vectors = torch.randn(trie.n_nodes[level + 1], 3, generator=generator, dtype=torch.float64)
        nodes = torch.randint(trie.n_nodes[level + 1], (n,), generator=generator)  # what is asked for
        parents, codes = trie.parents_at(level + 1, nodes), trie.codes_at(level + 1, nodes)
        owners = trie.parents(level + 1)
        expected = [
            (states[i] @ vectors[nodes[i]]) - (vectors[owners == parents[i]] @ states[i]).logsumexp(0) for i in range(n)
        ]
        found = sibling_log_probs(states, parents, codes, level, vectors, trie)
        torch.testing.assert_close(found, torch.stack(expected), atol=1e-12, rtol=0)


@settings(max_examples=100, deadline=None)
@given(parents=st.lists(st.integers(0, 9), min_size=1, max_size=60), group=st.integers(1, 8))
def test_blocks_hold_one_parent_each_and_every_target_once(parents: list[int], group: int):
    slots, block_parents = group_by_parent(torch.tensor(parents), group)
    assert len(set(slots.tolist())) == len(parents)
    assert block_parents[slots // group].tolist() == parents
    blocks = sum(-(-parents.count(parent) // group) for parent in set(parents))
    assert len(block_parents) == blocks  # no more than needed


def test_gradients_of_grouped_products_are_those_of_the_plain_product():
    trie = Trie.from_codes(torch.tensor([[0, 0], [0, 2], [1, 1], [2, 0], [2, 1], [2, 2]]), [3, 3])
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(7, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    vectors = torch.randn(6, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    parents, codes = torch.tensor([2, 0, 2, 2, 1, 0, 2]), torch.tensor([0, 2, 2, 1, 1, 0, 2])
    sibling_log_probs(states, parents, codes, 1, vectors, trie).sum().backward()
    gradients = states.grad.clone(), vectors.grad.clone()
    states.grad = vectors.grad = None
    sets = {0: [0, 1], 1: [2], 2: [3, 4, 5]}
    places = [0, 1, 2, 1, 1, 0, 2]  # of the target among its siblings, by hand
    places[0], places[3] = 0, 1
    total = sum(
        (states[i] @ vectors[sets[int(parents[i])]].T).log_softmax(0)[0 if int(parents[i]) == 1 else places[i]]
        for i in range(7)
    )
    total.backward()
    torch.testing.assert_close(gradients[0], states.grad, atol=1e-12, rtol=0)
    torch.testing.assert_close(gradients[1], vectors.grad, atol=1e-12, rtol=0)
