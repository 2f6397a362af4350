"""Learning: every weight that should move gets a gradient, no frozen one does, and the loss falls."""

from typing import Any

import pytest
import torch
from tiny_models import N_ITEMS, TOLERANCE, random_trie, tiny_config, tiny_content, tiny_tries

from gen_rec.models.two_stream import TwoStreamModel
from gen_rec.objectives.config import ObjectiveConfig
from gen_rec.objectives.eager import Batch, EagerObjective

ONE_KEY = ("cross_norm", "cross_attention.query")
"""Of the auxiliary decoder, which looks at one summary: all attention goes there whatever the query."""

CASES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"encoder": "bidirectional"}, {"contrastive": "cosine"}),
    ({"code_embedding": "level"}, {"contrastive": "info_nce", "negatives": 8}),
    ({"tied": "leaves", "item_content": False}, {"contrastive": "off", "transfer_layers": 2}),
    ({"code_content": False, "seed_start": False}, {"generation_reduction": "mean"}),
    ({"decoder_layers": 0}, {"transfer": False}),
    ({"streams": ["semantic"]}, {}),
    ({"streams": ["behavior"], "code_embedding": "level"}, {"contrastive": "off"}),
]


def fresh(model: dict[str, Any], objective: dict[str, Any]) -> EagerObjective:
    """Untouched initial weights, small dropout off: only evaluation mode differs from a real start."""
    torch.manual_seed(0)
    tables = {"behavior": torch.randn(N_ITEMS, 4), "semantic": torch.randn(N_ITEMS, 7)}
    network = TwoStreamModel(tiny_config(**model), tiny_tries(), tiny_content())
    return EagerObjective(network, tables, ObjectiveConfig(**objective)).double()


def whole_catalogue(encoder: str = "causal") -> Batch:
    """Every item once in a history and once as a target, each followed by its neighbour."""
    items = torch.arange(N_ITEMS + 1) % N_ITEMS
    history = torch.stack([items[start : start + 6] for start in range(0, 18, 6)] + [items[17:23]])
    targets = torch.stack([items[start + 1 : start + 7] for start in range(0, 18, 6)] + [items[18:24]])
    lengths = torch.full((4,), 6)
    if encoder == "causal":
        return Batch(history, lengths, targets)
    ends = torch.arange(1, N_ITEMS + 1) % N_ITEMS
    back = (ends[:, None] - torch.tensor([3, 2, 1])) % N_ITEMS
    return Batch(back, torch.full((N_ITEMS,), 3), ends[:, None])


def batch_for(model: dict[str, Any]) -> Batch:
    return whole_catalogue(model.get("encoder", "causal"))


def learn(whole: EagerObjective, batch: Batch, steps: int, rate: float = 1e-2) -> None:
    optimizer = torch.optim.AdamW([p for p in whole.parameters() if p.requires_grad], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        whole(batch)["loss"].backward()
        optimizer.step()


@torch.no_grad()
def measured(whole: EagerObjective, batch: Batch) -> dict[str, float]:
    """The loss terms without dropout, with the same masks and negatives each time."""
    torch.manual_seed(1)
    return {name: float(term) for name, term in whole.eval()(batch).items()}


@pytest.mark.parametrize(("model", "objective"), CASES)
def test_gradients_reach_every_weight_that_learns_and_nothing_frozen(model: dict, objective: dict):
    whole, batch = fresh(model, objective).eval(), batch_for(model)
    learning = {name: p for name, p in whole.named_parameters() if p.requires_grad}
    frozen = {name for name, p in whole.named_parameters() if not p.requires_grad}
    assert all(name.startswith("transfer.layers") and any(part in name for part in ONE_KEY) for name in frozen)
    before = {name: buffer.clone() for name, buffer in whole.named_buffers()}
    assert any("content" in name for name in before)
    learn(whole, batch, steps=3)  # the branches that start at zero open up
    whole.zero_grad()
    whole(batch)["loss"].backward()
    silent = [name for name, p in learning.items() if p.grad is None or not p.grad.abs().max() > 1e-9]
    assert silent == []
    for name, buffer in whole.named_buffers():
        assert not buffer.requires_grad, name
        assert torch.equal(buffer, before[name]), name


@pytest.mark.parametrize(("model", "objective"), CASES[:3])
def test_every_row_of_every_table_learns_from_a_batch_of_the_whole_catalogue(model: dict, objective: dict):
    """Also leaves without siblings, which no softmax teaches: they are read by the summary token."""
    whole, batch = fresh(model, objective).eval(), batch_for(model)
    learn(whole, batch, steps=3)
    whole.zero_grad()
    whole(batch)["loss"].backward()
    used = {f"codes.tables.{level}" for level in range(3)} | {"items.table.weight"}
    for name, parameter in whole.model.named_parameters():
        if any(name.endswith(table) for table in used):
            rows = parameter.grad.abs().sum(1) > 0
            if "decoders" in name and model.get("code_embedding") == "level":
                trie = whole.model.streams[name.split(".")[1]].trie
                codes = trie.node_codes(int(name[-1]) + 1).unique()  # a code that no item has is never read
                assert torch.equal(rows.nonzero()[:, 0], codes), name
            else:
                assert bool(rows.all()), name


def test_the_seldom_met_gradients_of_the_first_step():
    """Before any step the branches are silent: what lies inside them gets nothing yet, their last matrix does."""
    whole = fresh({}, {}).eval()
    whole(batch_for({}))["loss"].backward()
    layer = whole.model.streams["behavior"].layers[0]
    assert layer.cross_attention.output.weight.grad.abs().max() > 0
    assert not layer.cross_attention.query.weight.grad.any()
    assert not layer.feed_forward.inner.weight.grad.any()


@pytest.mark.parametrize(("model", "objective"), CASES)
def test_a_tiny_batch_is_learnt(model: dict, objective: dict):
    """30 steps with dropout on; every item has one successor, so its likelihood can become large."""
    whole, batch = fresh({**model, "dropout": 0.1, "embedding_dropout": 0.1}, objective), batch_for(model)
    first = measured(whole, batch)
    learn(whole.train(), batch, steps=30, rate=2e-2)
    last = measured(whole, batch)
    assert last["generation"] < 0.5 * first["generation"]
    for name in set(first) - {"recognition"}:  # telling replaced codes from intact ones needs longer
        assert last[name] < first[name], name


def test_two_models_of_one_seed_learn_the_same():
    """Dropout, masks, negatives and the choice of targets all come from torch's generator."""
    ends = []
    for _ in range(2):
        whole = fresh({}, {"contrastive": "info_nce", "negatives": 6, "transfer_targets": 5}).train()
        learn(whole, whole_catalogue(), steps=3)
        ends.append(whole.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_an_empty_history_in_a_batch_spoils_no_gradient():
    whole = fresh({"encoder": "bidirectional"}, {}).eval()
    batch = Batch(torch.tensor([[-1, -1], [4, 5]]), torch.tensor([0, 2]), torch.tensor([[3], [6]]))
    terms = whole(batch)
    terms["loss"].backward()
    assert all(bool(term.isfinite()) for term in terms.values())
    assert all(bool(p.grad.isfinite().all()) for p in whole.parameters() if p.grad is not None)
    alone = whole(Batch(batch.history[1:], batch.lengths[1:], batch.targets[1:]))
    empty = whole(Batch(batch.history[:1], batch.lengths[:1], batch.targets[:1]))
    half = (alone["generation"] + empty["generation"]) / 2
    torch.testing.assert_close(terms["generation"], half, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("objective", [{"contrastive": "off"}, {"contrastive": "off", "transfer": False}, {}])
@pytest.mark.parametrize("depth", [1, 2])
def test_no_weight_is_left_out_of_the_graph(depth: int, objective: dict):
    """A gradient of zero will do, none will not: several processes wait for that of every weight."""
    torch.manual_seed(0)
    tables = {"behavior": torch.randn(N_ITEMS, 4), "semantic": torch.randn(N_ITEMS, 7)}
    tries = {name: random_trie(N_ITEMS, (30,) if depth == 1 else (6, 7), seed) for seed, name in enumerate(tables)}
    network = TwoStreamModel(tiny_config(), tries, tiny_content())
    whole = EagerObjective(network, tables, ObjectiveConfig(**objective)).double()
    whole(whole_catalogue())["loss"].backward()
    assert [name for name, p in whole.named_parameters() if p.requires_grad and p.grad is None] == []
