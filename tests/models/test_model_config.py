"""Every setting of the model that cannot work is refused by name, with what was found."""

from typing import Any

import pytest
from tiny_models import tiny_config

from gen_rec.models.config import ModelConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"streams": []}, r"model\.streams must be one or both of \['behavior', 'semantic'\], got \[\]"),
        ({"streams": ["visual"]}, r"model\.streams .* got \['visual'\]"),
        ({"streams": ["semantic", "semantic"]}, r"model\.streams .*semantic"),
        ({"hidden_size": 10, "num_heads": 4}, r"model\.num_heads must divide model\.hidden_size, got 4 and 10"),
        ({"encoder_layers": 0}, r"model\.encoder_layers must be at least 1, got 0"),
        ({"inner_size": 0}, r"model\.inner_size must be at least 1, got 0"),
        ({"num_heads": 0}, r"model\.num_heads must be at least 1, got 0"),
        ({"hidden_size": 0}, r"model\.hidden_size must be at least 1, got 0"),
        ({"max_history": 0}, r"model\.max_history must be at least 1, got 0"),
        ({"decoder_layers": -1}, r"model\.decoder_layers must not be negative, got -1"),
        ({"content_size": -1}, r"model\.content_size must not be negative, got -1"),
        ({"decoder_layers": 0, "seed_start": False}, r"model\.seed_start must be true with model\.decoder_layers 0"),
        ({"dropout": 1.0}, r"model\.dropout must lie in \[0, 1\), got 1\.0"),
        ({"embedding_dropout": -0.1}, r"model\.embedding_dropout must lie in \[0, 1\), got -0\.1"),
    ],
)
def test_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**settings)


def test_what_is_on_the_border_is_allowed():
    tiny_config(
        decoder_layers=0, content_size=0, dropout=0.0, embedding_dropout=0.99, max_history=1, streams=["semantic"]
    )
