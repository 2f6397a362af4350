"""The whole loss: its parts, their weights, and that a step does not depend on how it is cut."""

from typing import Any

import pytest
import torch
from tiny_models import N_ITEMS, TOLERANCE, dense_targets, histories, stir, tiny_model
from torch import Tensor

from gen_rec.models.scoring import stream_scorers
from gen_rec.objectives.config import ObjectiveConfig
from gen_rec.objectives.contrastive import cosine, smooth_l1
from gen_rec.objectives.eager import Batch, EagerObjective
from indexing import exact_scores


def tables() -> dict[str, Tensor]:
    """Frozen embeddings of another width for each stream."""
    generator = torch.Generator().manual_seed(7)
    return {"behavior": torch.randn(N_ITEMS, 4, generator=generator), "semantic": torch.randn(N_ITEMS, 7)}


def objective_of(model_settings: dict[str, Any] | None = None, **objective: Any) -> EagerObjective:
    whole = EagerObjective(tiny_model(**(model_settings or {})), tables(), ObjectiveConfig(**objective)).double().eval()
    stir(whole, 11)
    return whole


def dense_batch() -> Batch:
    history, lengths = histories([5, 2, 6, 1])
    targets = dense_targets(history)
    targets[0, :2] = -1  # a window that overlaps another supervises only its end
    return Batch(history, lengths, targets)


@torch.no_grad()
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("encoder", ["causal", "bidirectional"])
def test_generation_is_the_negative_log_likelihood_of_the_items(reduction: str, encoder: str):
    whole = objective_of({"encoder": encoder}, generation_reduction=reduction, contrastive="off", transfer=False)
    history, lengths = histories([5, 2, 6, 1])
    targets = torch.tensor([3, 8, 8, 20])
    terms = whole(Batch(history, lengths, targets[:, None]))
    expected = {}
    for stream, scorer in stream_scorers(whole.model, history, lengths).items():
        trie = whole.model.streams[stream].trie
        scores = exact_scores(scorer, trie)
        divisor = trie.depth if reduction == "mean" else 1
        expected[stream] = -scores[torch.arange(4), targets].mean() / divisor
        torch.testing.assert_close(terms[f"generation/{stream}"], expected[stream], atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(terms["loss"], sum(expected.values()), atol=TOLERANCE, rtol=0)
    assert sorted(terms) == ["generation", "generation/behavior", "generation/semantic", "loss"]


@torch.no_grad()
@pytest.mark.parametrize(("kind", "function"), [("smooth_l1", smooth_l1), ("cosine", cosine)])
def test_contrastive_compares_each_summary_with_its_own_target(kind: str, function: Any):
    whole, batch = objective_of(contrastive=kind, transfer=False), dense_batch()
    outputs = whole.model(*batch, summaries=list(whole.model.streams))
    parts = []
    for stream, output in outputs.items():
        net = whole.contrast[stream]
        rows = [(r, c) for r in range(4) for c in range(6) if batch.targets[r, c] >= 0]  # row by row, as they come
        losses = [
            function(net.project(output.summary[i])[None], net.table[batch.targets[at]][None])
            for i, at in enumerate(rows)
        ]
        parts.append(torch.cat(losses).mean())
    torch.testing.assert_close(whole(batch)["contrastive"], sum(parts), atol=TOLERANCE, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["smooth_l1", "cosine", "info_nce", "off"])
def test_the_total_is_the_weighted_sum(kind: str):
    weights = {"contrastive_weight": 0.7, "reconstruction_weight": 0.3, "recognition_weight": 1.9}
    terms = objective_of(contrastive=kind, negatives=5, **weights)(dense_batch())
    assert ("contrastive" in terms) == (kind != "off")
    expected = terms["generation/behavior"] + terms["generation/semantic"]
    expected = expected + 0.3 * terms["reconstruction"] + 1.9 * terms["recognition"]
    expected = expected + 0.7 * terms.get("contrastive", torch.tensor(0.0))
    torch.testing.assert_close(terms["loss"], expected, atol=TOLERANCE, rtol=0)
    assert all(bool(term.isfinite()) and term.ndim == 0 for term in terms.values())


def test_parts_of_a_batch_add_up_to_the_whole_in_loss_and_gradient():
    """Uneven parts: one has nine targets, the other three; each is divided by the twelve of the step."""
    whole, batch = objective_of(transfer=False, contrastive="smooth_l1"), dense_batch()
    n = int((batch.targets >= 0).sum())
    loss = whole(batch)["loss"]
    gradients = torch.autograd.grad(loss, whole.parameters())
    parts = [Batch(*(t[rows] for t in batch)) for rows in (torch.tensor([0, 2]), torch.tensor([1, 3]))]
    assert [int((part.targets >= 0).sum()) for part in parts] == [9, 3]
    losses = [whole(part, n_targets=float(n))["loss"] for part in parts]
    torch.testing.assert_close(losses[0] + losses[1], loss, atol=TOLERANCE, rtol=0)
    cut = [torch.autograd.grad(part, whole.parameters()) for part in losses]
    for a, b, c in zip(gradients, *cut, strict=True):
        torch.testing.assert_close(b + c, a, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(whole(batch, n_targets=float(n))["loss"], loss, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_every_term_scales_with_the_targets_of_the_step():
    whole, batch = objective_of(contrastive="info_nce", negatives=5), dense_batch()
    torch.manual_seed(0)
    own = whole(batch)
    torch.manual_seed(0)
    shared = whole(batch, n_targets=36.0)
    for name, term in own.items():
        torch.testing.assert_close(shared[name], term / 3, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_a_dense_row_costs_what_its_targets_cost_one_by_one():
    whole, batch = objective_of(transfer=False), dense_batch()
    rows = (batch.targets >= 0).nonzero().tolist()
    prefixes = torch.stack([batch.history[r].masked_fill(torch.arange(6) > c, -1) for r, c in rows])
    following = torch.stack([batch.targets[r, c : c + 1] for r, c in rows])
    single = whole(Batch(prefixes, torch.tensor([c + 1 for _, c in rows]), following))
    for name, term in whole(batch).items():
        torch.testing.assert_close(single[name], term, atol=TOLERANCE, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(("limit", "used"), [(0, 12), (5, 5), (12, 12), (100, 12)])
def test_transfer_uses_some_targets_with_their_own_summaries(limit: int, used: int, monkeypatch: pytest.MonkeyPatch):
    whole, batch = objective_of(transfer_targets=limit), dense_batch()
    output = whole.model(*batch, summaries=list(whole.model.streams))
    seen = []

    def record(nodes: Tensor, summary: Tensor, vectors: list[Tensor]) -> Tensor:
        seen.append((nodes, summary))
        assert [len(v) for v in vectors] == list(whole.model.streams["behavior"].trie.n_nodes[1:])
        return summary.new_ones(len(nodes))

    monkeypatch.setattr(whole.transfer, "reconstruction", record)
    monkeypatch.setattr(whole.transfer, "recognition", record)
    terms = whole(batch)
    assert float(terms["reconstruction"]) == float(terms["recognition"]) == 1.0
    for nodes, summary in seen:
        assert len(nodes) == used
        distance = (summary[:, None] - output["semantic"].summary).abs().amax(2)  # (used, 12): the semantic summary
        place = distance.argmin(1)
        assert float(distance.amin(1).max()) < TOLERANCE
        assert len(place.unique()) == used
        assert torch.equal(nodes, output["behavior"].nodes[place])


def test_what_is_switched_off_has_no_parameters():
    def groups(whole: EagerObjective) -> set[str]:
        names = {name for name, _ in whole.named_parameters()}
        return {".".join(name.split(".")[: 3 if "decoders" in name else 2]) for name in names}

    core = {"model.readers"}
    behavior, semantic = "model.decoders.behavior", "model.decoders.semantic"
    everything = groups(objective_of())
    assert core | {behavior, semantic, "contrast.behavior", "contrast.semantic", "transfer.layers"} <= everything
    assert groups(objective_of(contrastive="off", transfer=False)) == core | {behavior, semantic}
    no_transfer = groups(objective_of(transfer=False))
    assert no_transfer == core | {behavior, semantic, "contrast.behavior", "contrast.semantic"}
    assert not any(name.startswith("contrast") for name in groups(objective_of(contrastive="off")))
    for name in ("behavior", "semantic"):  # a plain generative recommender, even if the transfer task is asked for
        alone = objective_of({"streams": [name]}, transfer=True)
        assert groups(alone) == core | {f"model.decoders.{name}", f"contrast.{name}"}
        assert sorted(alone(dense_batch())) == ["contrastive", "generation", f"generation/{name}", "loss"]


def test_the_summary_token_is_run_only_where_something_learns_from_it(monkeypatch: pytest.MonkeyPatch):
    for settings, wanted in (
        ({"contrastive": "off", "transfer": False}, []),
        ({"contrastive": "off", "transfer": True}, ["semantic"]),
        ({"contrastive": "cosine", "transfer": False}, ["behavior", "semantic"]),
    ):
        whole = objective_of(**settings)
        asked = []
        forward = whole.model.forward
        monkeypatch.setattr(whole.model, "forward", lambda *a, f=forward, to=asked: (to.append(a[3]), f(*a))[1])
        whole(dense_batch())
        assert asked == [wanted]


@pytest.mark.parametrize("shared", [True, False])
def test_what_repeats_are_worth_is_learnt_quickly_and_all_else_once_at_the_usual_rate(shared: bool):
    whole = objective_of({"shared_encoder": shared})
    (usual, rate), (quick, factor) = whole.parameter_groups()
    assert rate == 1.0
    assert factor > 1.0
    readers = ["shared"] if shared else ["behavior", "semantic"]
    assert [id(parameter) for parameter in quick] == [id(whole.model.reader(name).repeats.table) for name in readers]
    every = {id(parameter) for parameter in [*usual, *quick]}
    assert len(usual) + len(quick) == len(list(whole.parameters())) == len(every)
