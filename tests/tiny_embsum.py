"""Small EmbSum models over a shop of a dozen items, for tests that compare."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from tiny_backbone import tiny_backbone
from tiny_models import stir

from gen_rec.data.interactions import Cases, Dataset, Sequences, offsets_of
from gen_rec.embsum.config import EmbSumConfig
from gen_rec.embsum.model import EmbSum
from gen_rec.embsum.tokens import ItemTokens
from gen_rec.inference import Split

TEXTS = [
    "red nail polish", "blue nail polish opi", "green nail", "essie polish", "", "soft brush . brand opi",
    "hair shampoo dry", "hair oil", "shampoo for dry hair , soap", "soft soap", "hair brush", "oil",
]  # fmt: skip
"""Two kinds of items, the first six and the last six; one has no text."""
TOLERANCE = 1e-5
"""Float32 sums of a few dozen numbers of size one, padded to other lengths."""


def tiny_config(**settings: Any) -> EmbSumConfig:
    small: dict[str, Any] = {
        "session_items": 2, "item_tokens": 5, "session_tokens": 9, "max_items": 6, "user_codes": 3, "item_codes": 2,
        "code_size": 8, "summary_tokens": 8, "uniform_negatives": 3,
    }  # fmt: skip
    return EmbSumConfig(**{**small, **settings})


def tiny_embsum(kind: str = "t5", seed: int = 0, **settings: Any) -> EmbSum:
    """A model in evaluation mode whose heads are stirred. kind: "t5" or "bert"; ``settings`` of ``EmbSumConfig``"""
    model = EmbSum(tiny_config(**settings), tiny_backbone(kind, seed=seed)).eval()
    for head in (model.user_attention, model.item_attention, model.score):
        stir(head, seed)
    return model


def shop_tokens(model: EmbSum, texts: list[str] | None = None) -> ItemTokens:
    """The items' tokens as the model reads them."""
    words = model.words
    return ItemTokens.of(TEXTS if texts is None else texts, words.tokenizer, words.item, words.end, model.config)


def sequences(histories: list[list[int]]) -> Sequences:
    offsets = offsets_of(np.array([len(history) for history in histories], dtype=np.int64))
    items = np.array([item for history in histories for item in history], dtype=np.int32)
    return Sequences(offsets, items, np.arange(len(histories), dtype=np.int32))


def all_finite(module: torch.nn.Module) -> bool:
    """Whether every gradient that there is has finite numbers only."""
    return all(bool(p.grad.isfinite().all()) for p in module.parameters() if p.grad is not None)


def all_knowing(dataset: Dataset) -> Callable[..., Callable[..., np.ndarray]]:
    """A stand-in for ``embsum_scorer``: 1 for a user's target, 0 for other items."""

    def scorer(run: object, split: Split, cases: object) -> Callable[..., np.ndarray]:
        known = dataset.cases(split)
        target = dict(zip(known.user.tolist(), known.target.tolist(), strict=True))

        def score(some: Cases, items: np.ndarray) -> np.ndarray:
            wanted = np.array([target[user] for user in some.user.tolist()])
            return np.where(items >= 0, (items == wanted[:, None]).astype(np.float32), -np.inf)

        return score

    return scorer
