"""A typo in a setting made from Python is refused, as the command line refuses it."""

from collections.abc import Callable
from typing import Any

import pytest

from gen_rec.data.config import DataConfig
from gen_rec.embeddings.config import DINConfig, TextConfig
from gen_rec.embsum.config import EmbSumConfig
from gen_rec.impressions.config import GoodreadsConfig, ImpressionConfig
from gen_rec.models.config import ModelConfig
from gen_rec.objectives.config import ObjectiveConfig
from gen_rec.retrieval import SearchConfig
from gen_rec.summaries.config import SummaryConfig
from gen_rec.training.config import TrainingConfig


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (
            DataConfig,
            {"tie_order": "random"},
            r"data\.tie_order must be one of \['input', 'shuffled', 'redrawn'\], got",
        ),
        (DINConfig, {"score": "dot"}, r"embeddings\.behavior\.score"),
        (EmbSumConfig, {"state": "end"}, r"embsum\.state"),
        (GoodreadsConfig, {"undated": "drop"}, r"impressions\.goodreads\.undated"),
        (ImpressionConfig, {"unknown_items": "skip"}, r"impressions\.unknown_items"),
        (ModelConfig, {"tied": "leafs"}, r"model\.tied"),
        (ObjectiveConfig, {"contrastive": "infonce"}, r"objective\.contrastive"),
        (SearchConfig, {"method": "exakt"}, r"search\.method"),
        (SearchConfig, {"precision": "half"}, r"search\.precision"),
        (SummaryConfig, {"backend": "server"}, r"summaries\.backend"),
        (TextConfig, {"dtype": "int8"}, r"embeddings\.semantic\.dtype"),
        (TrainingConfig, {"schedule": "cosinus"}, r"training\.schedule"),
        (TrainingConfig, {"mixed_precision": "bf8"}, r"training\.mixed_precision must be one of .*None"),
    ],
)
def test_other_words_are_refused(make: Callable[..., Any], settings: dict[str, str], message: str) -> None:
    make()  # the defaults are among the choices
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_none_stays_a_choice() -> None:
    assert TrainingConfig(mixed_precision=None).mixed_precision is None
