"""The training part of a data set as the rows that EAGER learns from."""

from dataclasses import dataclass

import torch

from gen_rec.data.batches import Int64Array, TrainingRows, epoch_batches
from gen_rec.objectives.eager import Batch


@dataclass(frozen=True)
class EagerSource:
    """``TrainingSource`` over stretches of the training sequences."""

    rows: TrainingRows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_targets(self) -> int:
        return self.rows.n_targets

    def steps(self, rows_per_step: int, seed: int, epoch: int, n_processes: int) -> list[Int64Array]:
        return epoch_batches(self.rows.lengths, rows_per_step, seed, epoch, n_processes)

    def batch(self, rows: Int64Array, device: torch.device, epoch: int) -> Batch:
        return Batch(*(torch.from_numpy(part).to(device) for part in self.rows.batch(rows)))

    def describe(self, rows: Int64Array) -> str:
        sequences = self.rows.sequences
        owner = sequences.user[sequences.offsets.searchsorted(self.rows.start[rows[:5]], side="right") - 1]
        return f"{len(rows)} training rows, of users {owner.tolist()} (rows of users.parquet) and others"
