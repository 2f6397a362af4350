"""An exponential moving average of the weights, kept beside the ones that are trained."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Running average of a module's parameters: average <- decay * average + (1 - decay) * weights.

    The decay grows as (1 + step) / (10 + step) up to its value, so that early averages are not of the start.
    Decay 0 keeps no average, and ``applied`` then changes nothing.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.parameters = list(module.parameters()) if decay else []
        self.decay = decay
        self.steps = 0
        self.average = [p.detach().clone() for p in self.parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights as they are after a step."""
        if not self.parameters:
            return
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)
        self.steps += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within the block the module has the averaged weights."""
        kept = [p.detach().clone() for p in self.parameters]
        self._write(self.average)
        try:
            yield
        finally:
            self._write(kept)

    @torch.no_grad()
    def _write(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

    def state_dict(self) -> dict[str, object]:
        """For a checkpoint."""
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """From a checkpoint."""
        self.steps = int(state["steps"])  # type: ignore[call-overload]
        for mine, saved in zip(self.average, state["average"], strict=True):  # type: ignore[call-overload]
            mine.copy_(saved)
