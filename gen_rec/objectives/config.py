"""Settings of the training objective."""

from dataclasses import dataclass
from typing import Literal

from gen_rec.choices import check_choices


@dataclass
class ObjectiveConfig:
    """Which losses are learnt, and how much each counts: L_gen + λ1 L_con + λ2 (L_recon + L_recog)."""

    generation_reduction: Literal["sum", "mean"] = "sum"
    """Over the code levels of a target: "sum" is the item's negative log-likelihood (the article), "mean" divides
    it by the number of levels (its code)."""
    contrastive: Literal["smooth_l1", "cosine", "info_nce", "off"] = "smooth_l1"
    """How the summary token's projection is pulled to the target's frozen embedding (the global contrastive task)."""
    contrastive_weight: float = 1.0
    """λ1."""
    temperature: float = 0.3
    """Temperature of "info_nce"."""
    negatives: int = 2048
    """Items sampled a batch as negatives of "info_nce"; the target itself is never among its negatives."""
    transfer: bool = True
    """The semantic-guided transfer task; it needs both streams and is left out of a run with one."""
    reconstruction_weight: float = 1.0
    """λ2 of rebuilding masked behaviour codes."""
    recognition_weight: float = 1.0
    """λ2 of telling intact behaviour codes from replaced ones."""
    mask_rate: float = 0.5
    """Share of an item's codes that are masked for rebuilding (at least one)."""
    replace_rate: float = 0.5
    """Share of an item's codes that are replaced in a negative for recognising (at least one)."""
    transfer_layers: int = 1
    """Layers of the auxiliary decoder, which is not needed after training."""
    transfer_targets: int = 512
    """Targets of a batch that the transfer task uses, drawn anew each step; 0 uses all."""

    def __post_init__(self) -> None:
        check_choices(self, "objective")
        for name in ("contrastive_weight", "reconstruction_weight", "recognition_weight"):
            if getattr(self, name) < 0:
                raise ValueError(f"objective.{name} must not be negative, got {getattr(self, name)}")
        for name in ("mask_rate", "replace_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"objective.{name} must lie in (0, 1], got {getattr(self, name)}")
        if self.temperature <= 0:
            raise ValueError(f"objective.temperature must be positive, got {self.temperature}")
        for name, least in (("negatives", 1), ("transfer_layers", 1), ("transfer_targets", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"objective.{name} must be at least {least}, got {getattr(self, name)}")
