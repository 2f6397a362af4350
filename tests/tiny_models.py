"""Small two-stream models over uneven tries, in float64 and with no branch silent, for tests that compare."""

from typing import Any

import torch
from torch import Tensor, nn

from gen_rec.models.config import ModelConfig
from gen_rec.models.two_stream import TwoStreamModel
from indexing import Trie

N_ITEMS = 23
TOLERANCE = 1e-11
"""Float64 sums of a few hundred numbers of size one, taken in another order."""


def random_trie(n_items: int, widths: tuple[int, ...], seed: int) -> Trie:
    """Distinct random codes: nodes have between one child and the width, in no regular way."""
    every = torch.cartesian_prod(*(torch.arange(width) for width in widths)).view(-1, len(widths))
    some = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))[:n_items]
    return Trie.from_codes(every[some], widths)


def tiny_tries() -> dict[str, Trie]:
    """Two levels and three, both with fewer codes used than there could be."""
    return {"behavior": random_trie(N_ITEMS, (6, 7), 1), "semantic": random_trie(N_ITEMS, (3, 4, 5), 2)}


def tiny_content() -> Tensor:
    return nn.functional.normalize(torch.randn(N_ITEMS, 5, generator=torch.Generator().manual_seed(3)), dim=1)


def stir(module: nn.Module, seed: int, std: float = 0.4) -> None:
    """Give every parameter random values, so that branches that start at zero say something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def tiny_config(**settings: Any) -> ModelConfig:
    small: dict[str, Any] = {
        "hidden_size": 12, "num_heads": 3, "inner_size": 16, "encoder_layers": 2, "decoder_layers": 2, "max_history": 6,
    }  # fmt: skip
    return ModelConfig(**{**small, **settings})


def tiny_model(seed: int = 0, **settings: Any) -> TwoStreamModel:
    """A stirred float64 model in evaluation mode; ``settings`` are those of ``ModelConfig``."""
    model = TwoStreamModel(tiny_config(**settings), tiny_tries(), tiny_content()).double().eval()
    stir(model, seed)
    return model


def histories(lengths: list[int], seed: int = 0, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Random histories of given lengths, padded with -1 to the longest or to ``width``."""
    n = max(1, max(lengths)) if width is None else width
    items = torch.randint(N_ITEMS, (len(lengths), n), generator=torch.Generator().manual_seed(seed))
    size = torch.tensor(lengths)
    return items.masked_fill(torch.arange(n) >= size[:, None], -1), size


def dense_targets(history: Tensor, seed: int = 0) -> Tensor:
    """A random target for every real position, -1 elsewhere."""
    targets = torch.randint(N_ITEMS, history.shape, generator=torch.Generator().manual_seed(100 + seed))
    return targets.masked_fill(history < 0, -1)


SHAPES: list[dict[str, Any]] = [
    {},
    {"code_embedding": "level", "item_content": False},
    {"tied": "leaves", "code_content": False},
    {"tied": "none", "look_ahead": False},
    {"look_ahead": False},
    {"seed_start": False, "decoder_layers": 1},
    {"decoder_layers": 0, "encoder_layers": 1},
    {"shared_encoder": False},
]
"""Variants of the model that should all keep the same promises."""
