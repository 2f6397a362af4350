"""The settings of a whole run: one tree, read from YAML and from dotted options of the command line."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import yaml

from gen_rec.data.config import DataConfig
from gen_rec.embeddings.config import EmbeddingsConfig
from gen_rec.embsum.config import EmbSumConfig
from gen_rec.evaluation.config import EvaluationConfig
from gen_rec.impressions.config import ImpressionConfig
from gen_rec.models.config import ModelConfig
from gen_rec.objectives.config import ObjectiveConfig
from gen_rec.ranking.config import RerankConfig
from gen_rec.retrieval import SearchConfig
from gen_rec.summaries.config import SummaryConfig
from gen_rec.training.config import TrainingConfig
from tokenizer import TokenizerConfig

SEEDS = 2**31
"""Seeds lie below; NumPy takes no larger ones than twice that, and processes add their number."""


@dataclass
class Config:
    """Everything that decides what a run computes."""

    run: str = "runs/default"
    """Folder of the run: every stage reads and writes there."""
    seed: int = 0
    """Seed of everything that is learnt: DIN, k-means, the model's start, the order of its training."""
    data: DataConfig = field(default_factory=DataConfig)
    """Which interactions, how they are filtered and split."""
    embeddings: EmbeddingsConfig = field(default_factory=EmbeddingsConfig)
    """Item embeddings from behaviour and from text."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """How embeddings are cut into codes."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """Encoder and decoders."""
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    """The losses."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """How the model is trained."""
    search: SearchConfig = field(default_factory=SearchConfig)
    """How codes are searched and fused."""
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    """Intervals and slices of an evaluation."""
    embsum: EmbSumConfig = field(default_factory=EmbSumConfig)
    """EmbSum, the content-based second stage."""
    summaries: SummaryConfig = field(default_factory=SummaryConfig)
    """The teacher's summaries of users, which EmbSum learns to write."""
    rerank: RerankConfig = field(default_factory=RerankConfig)
    """The last ranking: item graph, features, blend."""
    impressions: ImpressionConfig = field(default_factory=ImpressionConfig)
    """Lists that were shown, with clicks: what ``gen-rec impressions`` reads and learns against."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEEDS:
            raise ValueError(f"seed must be at least 0 and below {SEEDS}, got {self.seed}")


def as_dict(config: Any) -> dict[str, Any]:
    """A settings object as plain values, nested as the settings are."""
    return dataclasses.asdict(config)


def to_yaml(config: Config) -> str:
    """The resolved settings, in the form that ``--config`` reads."""
    return yaml.safe_dump(as_dict(config), sort_keys=False, allow_unicode=True)
