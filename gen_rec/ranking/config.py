"""Settings of the last ranking: which candidates, which features, which blend."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from gen_rec.choices import check_choices

Feature = Literal[
    "behavior",
    "semantic",
    "graph",
    "graph_last",
    "text_mean",
    "text_last",
    "text_max",
    "popularity",
    "recency",
    "embsum",
    "repeat",
]
Blend = Literal["auto", "linear", "boosted"]
FEATURES: tuple[Feature, ...] = get_args(Feature)


LEAST = {
    "candidates": 1, "graph_candidates": 0, "rounds": 1, "leaves": 2, "folds": 2, "negatives": 0, "fit_users": 0,
    "batch_users": 1,
}  # fmt: skip


@dataclass
class GraphConfig:
    """The item graph: which items stand near each other in training histories. Nothing in it is trained."""

    distance_power: float = 0.5
    """Two items d places apart in one history weigh d to the minus this power."""
    degree_power: float = 0.3
    """An edge is divided by the degrees of both its ends, each to this power, so that popular items do not fill
    every list."""
    history_decay: float = 0.7
    """An item of the history counts this factor less for each item that came after it."""
    max_distance: int = 0
    """Pairs farther apart than this many places are left out; 0 keeps all. It bounds the graph of long histories."""
    self_loops: bool = True
    """Whether an item that a user takes twice is its own neighbour."""

    def __post_init__(self) -> None:
        if not 0 < self.history_decay <= 1:
            raise ValueError(f"rerank.graph.history_decay must be above 0 and at most 1, got {self.history_decay}")
        if self.max_distance < 0:
            raise ValueError(f"rerank.graph.max_distance must not be negative (0 keeps all), got {self.max_distance}")


@dataclass
class RerankConfig:
    """The last ranking (``gen-rec rerank``)."""

    candidates: int = 100
    """Items that the fused search gives."""
    graph_candidates: int = 100
    """Neighbours of the history in the item graph that join them; 0 takes none."""
    features: list[Feature] = field(default_factory=lambda: [name for name in FEATURES if name != "text_mean"])
    """What the blend may look at. Features that the run cannot have (a stream or texts that it lacks, recency without
    real times, EmbSum where it is not encoded) are left out and named in the report. "repeat" is whether an item is in
    the history; it has one weight, learnt after the rest, and changes only lists that may hold such items. "text_mean"
    is not among the defaults: on validation it is worth nothing beside "text_max" in filtered lists, and harms raw
    ones."""
    blend: Blend = "auto"
    """"linear" is a logistic regression, "boosted" a few shallow trees fitted to the order of each list (LambdaMART);
    "auto" takes the one with the better cross-fitted NDCG@10 on validation: trees where there is much to learn from,
    the regression where a few hundred lists would be learnt by heart."""
    rounds: int = 100
    """Trees of "boosted"."""
    leaves: int = 8
    """Leaves of a tree."""
    learning_rate: float = 0.08
    """How much of a tree is added."""
    graph: GraphConfig = field(default_factory=GraphConfig)
    """The item graph."""
    text_decay: float = 0.7
    """An item's text counts this factor less in the history's mean for each item that came after it."""
    embsum: Literal["auto", "on", "off"] = "auto"
    """Whether EmbSum's score is a feature; "auto" where the run has encoded users and items."""
    folds: int = 5
    """Parts of the validation users: each is scored by a blend fitted on the others."""
    negatives: int = 30
    """Candidates beside the target that the blend sees of each user, drawn at random; 0 shows it all."""
    fit_users: int = 50_000
    """Validation users that are searched to fit the blend, drawn at random where there are more; 0 takes all. Only
    those whose target is among their candidates teach the blend, and only their features stay in memory."""
    batch_users: int = 1024
    """Users whose features are in memory at once."""
    worth: bool = True
    """Whether each feature's worth is measured, by fitting again without it; it takes a few times as long as the rest
    of the fit."""

    def __post_init__(self) -> None:
        check_choices(self, "rerank")
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ValueError(f"rerank.{name} must be at least {least}, got {getattr(self, name)}")
        unknown = [name for name in self.features if name not in FEATURES]
        if unknown or not self.features or len(set(self.features)) < len(self.features):
            raise ValueError(f"rerank.features must be some of {list(FEATURES)}, each once; got {self.features}")
        if not 0 < self.text_decay <= 1:
            raise ValueError(f"rerank.text_decay must be above 0 and at most 1, got {self.text_decay}")
