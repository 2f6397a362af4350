"""Settings of training."""

from dataclasses import dataclass
from typing import Literal

from gen_rec.choices import check_choices


@dataclass
class TrainingConfig:
    """How long, how fast, and what is kept."""

    epochs: int = 30
    """Epochs at most; training ends earlier when validation stops improving."""
    patience: int = 5
    """Validations without a better NDCG@10 after which training ends."""
    batch_size: int = 256
    """Rows a process takes in one micro-batch (users with the causal encoder, targets with the other)."""
    gradient_accumulation: int = 1
    """Micro-batches a step."""
    learning_rate: float = 1e-3
    """Peak of the schedule."""
    weight_decay: float = 0.01
    """AdamW's decay of matrices and tables; vectors (biases, norms) are not decayed."""
    beta2: float = 0.98
    """How long AdamW remembers the squares of gradients: the decay of their average, at least 0 and below 1."""
    warmup_steps: int = 200
    """Steps in which the rate grows from zero to its peak."""
    schedule: Literal["constant", "cosine", "inverse_sqrt"] = "cosine"
    """What the rate does after the warm-up; "cosine" falls to 2 % of the peak at the last epoch."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient of a step; 0 does not clip."""
    weight_averaging: float = 0.0
    """Decay of an exponential moving average of the weights that is validated and kept instead of the last ones;
    0 keeps the last ones."""
    mixed_precision: Literal["no", "fp16", "bf16", "auto"] | None = None
    """Precision of the products; "auto" is "bf16" where the processor multiplies so by itself, and "no" elsewhere. None
    leaves it to what ``accelerate launch`` says, which is "no" without it: float32."""
    validate_every: int = 1
    """Epochs between validations."""
    validation_users: int = 0
    """Users of a validation, the same each time; 0 takes all."""
    selection: Literal["raw", "filtered"] = "filtered"
    """Which validation NDCG@10 of the fused ranking (or of the only stream) picks the checkpoint."""
    checkpoint_minutes: float = 5.0
    """Minutes between checkpoints inside an epoch; the end of an epoch always has one."""
    cpu: bool = False
    """Train on the processor even where there is a GPU."""

    def __post_init__(self) -> None:
        check_choices(self, "training")
        least: list[tuple[str, float]] = [
            ("epochs", 1), ("patience", 1), ("batch_size", 1), ("gradient_accumulation", 1), ("warmup_steps", 0),
            ("gradient_clip", 0), ("weight_decay", 0), ("validate_every", 1), ("validation_users", 0),
            ("checkpoint_minutes", 0),
        ]  # fmt: skip
        for name, bound in least:
            if getattr(self, name) < bound:
                raise ValueError(f"training.{name} must be at least {bound}, got {getattr(self, name)}")
        if self.learning_rate <= 0:
            raise ValueError(f"training.learning_rate must be positive, got {self.learning_rate}")
        for name in ("beta2", "weight_averaging"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"training.{name} must lie in [0, 1), got {getattr(self, name)}")
