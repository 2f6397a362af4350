"""The transfer task: which codes are masked or replaced, and its losses against loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import N_ITEMS, TOLERANCE, random_trie, stir
from torch import Tensor

from gen_rec.objectives import transfer
from gen_rec.objectives.config import ObjectiveConfig
from gen_rec.objectives.transfer import SemanticTransfer, choose_some, replace_nodes
from indexing import Trie

HIDDEN = 12


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_task(trie: Trie, **objective: float) -> SemanticTransfer:
    config = ObjectiveConfig(**objective)  # type: ignore[arg-type]
    task = SemanticTransfer(HIDDEN, 3, 16, 0.0, trie, config).double().eval()
    stir(task, 5)
    return task


@settings(max_examples=60, deadline=None)
@given(depth=st.integers(1, 6), rate=st.floats(0.01, 1.0), seed=st.integers(0, 2**20))
def test_at_least_one_is_chosen(depth: int, rate: float, seed: int):
    torch.manual_seed(seed)
    chosen = choose_some(50, depth, rate, torch.device("cpu"))
    assert chosen.shape == (50, depth)
    assert bool(chosen.any(1).all())
    if rate == 1.0:
        assert bool(chosen.all())


def test_the_share_chosen_is_the_rate_and_the_forced_one_is_any():
    torch.manual_seed(0)
    n, rate, depth = 40_000, 0.3, 4
    chosen = choose_some(n, depth, rate, torch.device("cpu")).double()
    expected = rate + (1 - rate) ** depth / depth  # empty rows get one, at each place equally often
    assert float((chosen.mean(0) - expected).abs().max()) < 5 * (0.25 / n) ** 0.5  # five standard errors


@settings(max_examples=60, deadline=None)
@given(widths=st.lists(st.integers(1, 5), min_size=1, max_size=4), seed=st.integers(0, 2**20))
def test_replaced_nodes_are_others_of_their_level(widths: list[int], seed: int):
    torch.manual_seed(seed)
    trie = random_trie(8, tuple(widths), seed)
    nodes = trie.item_nodes[torch.randint(trie.n_items, (60,))]
    chosen = torch.rand(nodes.shape) < 0.5
    wrong = replace_nodes(nodes, chosen, trie)
    sizes = torch.tensor(trie.n_nodes[1:])
    assert bool(((wrong >= 0) & (wrong < sizes)).all())
    assert torch.equal(wrong != nodes, chosen & (sizes > 1))


def test_replacements_are_uniform_over_the_other_nodes():
    torch.manual_seed(0)
    trie = Trie.from_codes(torch.arange(5)[:, None])
    nodes = torch.full((40_000, 1), 3)
    counts = torch.bincount(replace_nodes(nodes, torch.ones_like(nodes, dtype=torch.bool), trie)[:, 0], minlength=5)
    assert counts[3] == 0
    assert float((counts[[0, 1, 2, 4]] - 10_000).abs().max()) < 5 * (40_000 * 0.25 * 0.75) ** 0.5


def test_replacement_survives_the_largest_random_number(monkeypatch: pytest.MonkeyPatch):
    """The last float32 below 1: no product with a number of nodes may wrap around to the node itself."""
    trie = random_trie(20, (4, 5), 0)
    monkeypatch.setattr(torch, "rand", lambda shape, device: torch.full(tuple(shape), 1 - 2**-24))
    wrong = replace_nodes(trie.item_nodes, torch.ones_like(trie.item_nodes, dtype=torch.bool), trie)
    assert bool((wrong != trie.item_nodes).all())


def test_reconstruction_equals_a_loop_over_masked_codes(monkeypatch: pytest.MonkeyPatch):
    """The candidates of a masked code are the different nodes of its level in the batch, and nothing else."""
    trie = random_trie(N_ITEMS, (3, 4, 5), 2)
    task = some_task(trie)
    nodes, summary = trie.item_nodes[[3, 8, 8, 15, 0]], random(5, HIDDEN)
    vectors = [random(n, HIDDEN, seed=level) for level, n in enumerate(trie.n_nodes[1:])]
    masked = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1], [1, 0, 1]], dtype=torch.bool)
    monkeypatch.setattr(transfer, "choose_some", lambda n, depth, rate, device: masked)
    losses = task.reconstruction(nodes, summary, vectors)
    for row in range(5):
        codes = [task.mask if masked[row, level] else vectors[level][nodes[row, level]] for level in range(3)]
        states = task.read(torch.stack(codes)[:, None], summary[row : row + 1])[:, 0]
        terms = []
        for level in range(3):
            if masked[row, level]:
                candidates = sorted(set(nodes[:, level].tolist()))
                logits = torch.stack([states[1 + level] @ vectors[level][node] for node in candidates])
                terms.append(-logits.log_softmax(0)[candidates.index(int(nodes[row, level]))])
        torch.testing.assert_close(losses[row], torch.stack(terms).mean(), atol=TOLERANCE, rtol=0)


def test_recognition_tells_intact_from_replaced(monkeypatch: pytest.MonkeyPatch):
    trie = random_trie(N_ITEMS, (3, 4, 5), 2)
    task = some_task(trie)
    nodes, summary = trie.item_nodes[[3, 8, 15]], random(3, HIDDEN)
    vectors = [random(n, HIDDEN, seed=level) for level, n in enumerate(trie.n_nodes[1:])]
    chosen = torch.tensor([[1, 0, 0], [0, 1, 1], [0, 0, 1]], dtype=torch.bool)
    monkeypatch.setattr(transfer, "choose_some", lambda n, depth, rate, device: chosen)
    torch.manual_seed(1)
    losses = task.recognition(nodes, summary, vectors)
    torch.manual_seed(1)
    wrong = replace_nodes(nodes, chosen, trie)
    assert torch.equal(wrong != nodes, chosen)
    for row in range(3):
        terms = []
        for path, sign in ((nodes[row], 1), (wrong[row], -1)):
            codes = torch.stack([vectors[level][path[level]] for level in range(3)])
            logit = task.recognise(task.read(codes[:, None], summary[row : row + 1])[0])[0, 0]
            terms.append(torch.nn.functional.softplus(-sign * logit))  # -log sigmoid(sign * logit)
        torch.testing.assert_close(losses[row], torch.stack(terms).mean(), atol=TOLERANCE, rtol=0)


def test_what_could_not_be_replaced_counts_as_intact(monkeypatch: pytest.MonkeyPatch):
    """Only the first level is chosen, and it has one node: both copies are the item's own codes."""
    trie = Trie.from_codes(torch.tensor([[0, 0], [0, 1], [0, 2]]))
    task = some_task(trie)
    vectors = [random(n, HIDDEN, seed=level) for level, n in enumerate(trie.n_nodes[1:])]
    chosen = torch.tensor([[True, False]]).expand(3, 2)
    monkeypatch.setattr(transfer, "choose_some", lambda n, depth, rate, device: chosen)
    losses, summary = task.recognition(trie.item_nodes, random(3, HIDDEN), vectors), random(3, HIDDEN)
    codes = torch.stack([vectors[level][trie.item_nodes[:, level]] for level in range(2)])
    logits = task.recognise(task.read(codes, summary)[0])[:, 0]
    torch.testing.assert_close(losses, torch.nn.functional.softplus(-logits), atol=TOLERANCE, rtol=0)


def test_every_state_sees_every_code_and_the_summary_but_no_other_row():
    task = some_task(random_trie(N_ITEMS, (3, 4, 5), 2))
    codes, summary = random(3, 2, HIDDEN), random(2, HIDDEN, seed=1)
    states = task.read(codes, summary)
    assert states.shape == (4, 2, HIDDEN)
    other_codes, other_summary = codes.clone(), summary.clone()
    other_codes[2, 0] = random(HIDDEN, seed=2)
    other_summary[0] = random(HIDDEN, seed=3)
    for changed in (task.read(other_codes, summary), task.read(codes, other_summary)):
        assert bool(((changed[:, 0] - states[:, 0]).abs().amax(1) > 1e-6).all())
        torch.testing.assert_close(changed[:, 1], states[:, 1], atol=TOLERANCE, rtol=0)
