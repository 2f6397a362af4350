"""What the training loop needs of whatever is learnt: rows in steps, batches of them, and an objective."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from gen_rec.data.batches import Int64Array


class StepBatch(Protocol):
    """Some rows on the device, as the objective takes them."""

    @property
    def n_targets(self) -> int:
        """Targets in the batch: what the sums of a loss are divided by, over the whole step."""


class TrainingSource(Protocol):
    """Rows to learn from, numbered from 0.

    Steps and batches depend on the arguments only: any process, and a run that resumes in the middle of an epoch, can
    compute them.
    """

    def __len__(self) -> int:
        """Rows of an epoch."""

    @property
    def n_targets(self) -> int:
        """Targets of an epoch, or any number that is 0 where there is nothing to learn."""

    def steps(self, rows_per_step: int, seed: int, epoch: int, n_processes: int) -> list[Int64Array]:
        """The rows of each step of an epoch: every row once, at least ``n_processes`` rows a step."""

    def batch(self, rows: Int64Array, device: torch.device, epoch: int) -> StepBatch:
        """Some rows as a batch of that epoch."""

    def describe(self, rows: Int64Array) -> str:
        """How many rows these are and whose, for the error that names those on which a step failed."""


RateGroups = Sequence[tuple[Sequence[nn.Parameter], float]]
"""Parameters and the multiple of the configured learning rate they have. The rate of the first group is logged."""


@runtime_checkable
class HasRateGroups(Protocol):
    """An objective that learns its parts at different rates."""

    def parameter_groups(self) -> RateGroups:
        """Every parameter that is to be trained, once."""
