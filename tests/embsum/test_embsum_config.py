"""Settings of EmbSum: what is refused, and that plain values come back as the same settings."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from gen_rec.cli import parse_config
from gen_rec.embsum.config import EmbSumConfig
from gen_rec.embsum.model import read_config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder_layers": 0}, r"embsum\.encoder_layers must be at least 1, got 0"),
        ({"decoder_layers": 0}, r"embsum\.decoder_layers must be at least 1, got 0"),
        ({"frozen_layers": -1}, r"embsum\.frozen_layers must be at least 0, got -1"),
        ({"max_items": 0}, r"embsum\.max_items"),
        ({"session_items": 0}, r"embsum\.session_items"),
        ({"item_tokens": 0}, r"embsum\.item_tokens"),
        ({"user_codes": 0}, r"embsum\.user_codes"),
        ({"item_codes": 0}, r"embsum\.item_codes"),
        ({"code_size": 0}, r"embsum\.code_size"),
        ({"summary_tokens": 1}, r"embsum\.summary_tokens must be at least 2"),
        ({"targets": 0}, r"embsum\.targets"),
        ({"uniform_negatives": -1}, r"embsum\.uniform_negatives"),
        ({"dropout": 1.0}, r"embsum\.dropout must lie in \[0, 1\)"),
        ({"session_tokens": 24}, r"embsum\.session_tokens \(24\) must hold an item of embsum\.item_tokens \(24\)"),
        ({"session_items": 120}, r"embsum\.session_tokens \(120\) must hold the start tokens"),
        ({"summary_weight": -0.1}, r"embsum\.summary_weight must not be negative"),
        ({"summary_share": 0.0}, r"embsum\.summary_share must lie in \(0, 1\], got 0\.0"),
        ({"summary_share": 1.1}, r"embsum\.summary_share must lie in"),
        ({"state": "summary", "summary_share": 0.5}, r"embsum\.state summary reads every summary"),
        ({"head_rate": 0.0}, r"embsum\.head_rate must be positive"),
        ({"session_gap_hours": 0.0}, r"embsum\.session_gap_hours must be positive"),
        ({"uniform_negatives": 0, "in_batch_negatives": False}, "embsum needs negatives"),
        ({"state": "summary", "summary_weight": 0.0}, r"embsum\.state summary needs a learnt summary"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EmbSumConfig(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"user_codes": 1},
        {"item_codes": 1},
        {"session_items": 1},
        {"summary_weight": 0.0},
        {"state": "summary"},
        {"in_batch_negatives": False},
        {"uniform_negatives": 0},
        {"item_tokens": 1, "session_items": 1, "session_tokens": 2},
    ],
)
def test_the_ablations_and_the_narrowest_settings_are_allowed(settings: dict[str, Any]) -> None:
    assert replace(EmbSumConfig(), **settings) == EmbSumConfig(**settings)


def test_plain_values_come_back_as_the_same_settings() -> None:
    training = replace(EmbSumConfig().training, epochs=7)
    config = EmbSumConfig(backbone="some/name", encoder_layers=2, session_gap_hours=3.5, training=training)
    assert read_config(json.loads(json.dumps(asdict(config)))) == config


def test_the_command_line_knows_them() -> None:
    config = parse_config(["--embsum.user_codes=3", "--embsum.state=summary", "--embsum.training.epochs=5"])
    assert config.embsum.user_codes == 3
    assert config.embsum.state == "summary"
    assert config.embsum.training == replace(EmbSumConfig().training, epochs=5)
    assert EmbSumConfig().max_items == 60  # the article's bound
    assert EmbSumConfig().summary_weight == 0.05  # and its lambda
