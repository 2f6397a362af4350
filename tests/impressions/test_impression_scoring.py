"""Scores of impressions against each impression scored by itself, and how often the encoder is asked."""

from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from sklearn.metrics import roc_auc_score
from tiny_embsum import TEXTS, TOLERANCE, sequences, shop_tokens, tiny_embsum

from gen_rec.data.interactions import Sequences, offsets_of
from gen_rec.impressions import scoring
from gen_rec.impressions.scoring import ImpressionScorer, ImpressionValidation
from gen_rec.impressions.table import NO_TIME, Impressions

N_ITEMS = len(TEXTS)


def impressions(n: int = 40, seed: int = 0) -> Impressions:
    """Nine histories, one of them empty and one that no impression has; one impression has one label only."""
    rng = np.random.default_rng(seed)
    histories = sequences([rng.integers(N_ITEMS, size=length).tolist() for length in (0, 1, 2, 3, 3, 5, 7, 9, 2)])
    history = rng.integers(8, size=n)
    lengths = rng.integers(2, 9, size=n)
    offsets = offsets_of(lengths)
    labels = (rng.random(offsets[-1]) < 0.4).astype(np.int8)
    labels[offsets[:-1]], labels[offsets[1:] - 1] = 0, 1
    labels[: offsets[1]] = 0
    return Impressions(
        np.arange(n).astype(str).astype(object), np.array(["u"], dtype=object), np.zeros(n, np.int32),
        np.full(n, NO_TIME), histories, history, offsets, rng.integers(N_ITEMS - 2, size=offsets[-1]).astype(np.int32),
        labels,
    )  # fmt: skip


@pytest.mark.parametrize(("pairs", "users"), [(8192, 64), (9, 3)], ids=["one block", "small blocks"])
@pytest.mark.parametrize("kind", ["t5", "bert"])
def test_each_impression_by_itself(kind: str, pairs: int, users: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BLOCK_PAIRS", pairs)
    monkeypatch.setattr(scoring, "BATCH_USERS", users)
    model, shown = tiny_embsum(kind), impressions()
    tokens = shop_tokens(model)
    scores = ImpressionScorer(model, tokens, shown).scores()
    with torch.no_grad():
        for i in range(len(shown)):
            places = slice(shown.offsets[i], shown.offsets[i + 1])
            items = model.encode_items(tokens.candidates(shown.candidates[places]))
            own: Sequences = sequences([shown.history_of(i).tolist()])
            expected = model.score(model.encode_users(tokens.histories(own)).vectors, items[None])[0]
            np.testing.assert_allclose(scores[places], expected.numpy(), atol=20 * TOLERANCE)  # cosines times 20
            if not len(shown.history_of(i)):
                assert not scores[places].any()


def test_items_and_histories_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BATCH_USERS", 3)
    model, shown = tiny_embsum(), impressions()
    rows: dict[str, list[int]] = {"users": [], "items": []}
    users, items = model.encode_users, model.encode_items

    def encode_users(histories: Any) -> Any:
        rows["users"].append(len(histories.starts))
        return users(histories)

    def encode_items(candidates: Any) -> Any:
        rows["items"].append(len(candidates.offsets) - 1)
        return items(candidates)

    monkeypatch.setattr(model, "encode_users", encode_users)
    monkeypatch.setattr(model, "encode_items", encode_items)
    scorer = ImpressionScorer(model, shop_tokens(model), shown)
    scorer.scores()
    assert sum(rows["users"]) == len(np.unique(shown.history)) == len(scorer)
    assert sum(rows["items"]) == len(np.unique(shown.candidates))
    lengths = shown.histories.lengths[scorer.histories]
    assert (np.diff(np.minimum(lengths, model.config.max_items)) >= 0).all()  # like lengths share a batch


def test_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    model, shown = tiny_embsum(), impressions()
    tokens = shop_tokens(model)
    validation = ImpressionValidation(Accelerator(cpu=True), model.train(), tokens, shown, 0)
    assert validation.n_impressions == len(shown) - 1  # the first has one label only
    figures = validation()
    scores = ImpressionScorer(model, tokens, shown).scores()
    parts = [slice(a, b) for a, b in zip(shown.offsets[1:-1], shown.offsets[2:], strict=True)]
    expected = np.mean([roc_auc_score(shown.labels[part], scores[part]) for part in parts])
    assert figures["impressions/auc"] == pytest.approx(expected, abs=1e-9)
    assert set(figures) == {
        "impressions/auc",
        "impressions/mrr",
        "impressions/ndcg@5",
        "impressions/ndcg@10",
        "seconds",
    }

    few = ImpressionValidation(Accelerator(cpu=True), model, tokens, shown, 10)
    assert (few.n_impressions, len(few.mine)) == (10, 10)
    assert (
        few.mine.ids.tolist() == ImpressionValidation(Accelerator(cpu=True), model, tokens, shown, 10).mine.ids.tolist()
    )

    class Second(Accelerator):
        """The second of three processes; what the others found is nothing here."""

        process_index, num_processes = 1, 3  # type: ignore[assignment]

        def reduce(self, tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
            return tensor

    share = ImpressionValidation(Second(cpu=True), model, tokens, shown, 0)
    assert share.mine.ids.tolist() == shown.ids[1:][1::3].tolist()
    auc = [roc_auc_score(shown.labels[part], scores[part]) for part in parts[1::3]]
    assert share()["impressions/auc"] == pytest.approx(np.mean(auc), abs=1e-9)
