"""Every setting of the objective that cannot work is refused by name, with what was found."""

from typing import Any

import pytest

from gen_rec.objectives.config import ObjectiveConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"contrastive_weight": -1.0}, r"objective\.contrastive_weight must not be negative, got -1\.0"),
        ({"reconstruction_weight": -0.5}, r"objective\.reconstruction_weight must not be negative, got -0\.5"),
        ({"recognition_weight": -2.0}, r"objective\.recognition_weight must not be negative, got -2\.0"),
        ({"mask_rate": 0.0}, r"objective\.mask_rate must lie in \(0, 1\], got 0\.0"),
        ({"replace_rate": 1.5}, r"objective\.replace_rate must lie in \(0, 1\], got 1\.5"),
        ({"temperature": 0.0}, r"objective\.temperature must be positive, got 0\.0"),
        ({"negatives": 0}, r"objective\.negatives must be at least 1, got 0"),
        ({"transfer_layers": 0}, r"objective\.transfer_layers must be at least 1, got 0"),
        ({"transfer_targets": -1}, r"objective\.transfer_targets must be at least 0, got -1"),
    ],
)
def test_refused(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        ObjectiveConfig(**settings)


def test_the_defaults_are_the_articles():
    config = ObjectiveConfig()
    assert config.contrastive == "smooth_l1"
    assert config.generation_reduction == "sum"
    assert config.contrastive_weight == config.reconstruction_weight == config.recognition_weight == 1.0
    assert config.mask_rate == config.replace_rate == 0.5
    ObjectiveConfig(contrastive_weight=0.0, mask_rate=1.0, transfer_targets=0)
