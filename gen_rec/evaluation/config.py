"""Settings of an evaluation; the cuts and the rules are the benchmark protocol's and cannot be set."""

from dataclasses import dataclass, field
from itertools import pairwise

from gen_rec.evaluation.bootstrap import RESAMPLES
from gen_rec.evaluation.slices import LENGTH_EDGES, POPULARITY_QUANTILES


@dataclass
class EvaluationConfig:
    """Confidence intervals, and the slices of users and items for which figures are also given."""

    resamples: int = RESAMPLES
    """Resamples of the bootstrap over users."""
    level: float = 0.95
    """Share of the resamples inside an interval."""
    bootstrap_seed: int = 0
    """Seed of the resampling; nothing else in an evaluation is random."""
    tail: float = POPULARITY_QUANTILES[0]
    """Share of the items that training saw, least popular first, that make the tail slice."""
    head: float = POPULARITY_QUANTILES[1]
    """Quantile of popularity above which an item is in the head slice."""
    length_edges: list[int] = field(default_factory=lambda: list(LENGTH_EDGES))
    """Where the slices of history lengths begin; ascending from 0."""

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ValueError(f"evaluation.resamples must be at least 1, got {self.resamples}")
        if not 0.0 < self.level < 1.0:
            raise ValueError(f"evaluation.level must lie between 0 and 1, got {self.level}")
        if not 0.0 <= self.tail <= self.head <= 1.0:
            raise ValueError(
                "evaluation.tail and evaluation.head must satisfy 0 <= tail <= head <= 1, got "
                f"{self.tail} and {self.head}"
            )
        edges = self.length_edges
        if not edges or edges[0] != 0 or any(a >= b for a, b in pairwise(edges)):
            raise ValueError(f"evaluation.length_edges must ascend from 0, got {edges}")
