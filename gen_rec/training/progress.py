"""Where a training stands: what a checkpoint must know besides weights."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Progress:
    """The next thing to do is step ``step_in_epoch`` of ``epoch``."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    """Steps taken in all."""
    best: float = -1.0
    """Best validation figure so far."""
    best_epoch: int = -1
    """The epoch whose weights are kept; -1 before any are."""
    waited: int = 0
    """Validations since the best one."""
    finished: bool = False
    wall_s: float = 0.0
    """Seconds spent training, over all interrupted parts."""

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        for name, value in state.items():
            setattr(self, name, value)
