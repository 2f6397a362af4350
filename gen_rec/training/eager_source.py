"""The training part of a data set as the rows that EAGER learns from."""

from dataclasses import dataclass, field, replace

import torch

from gen_rec.data.batches import Int64Array, TrainingRows, epoch_batches
from gen_rec.data.ties import Ties
from gen_rec.objectives.eager import Batch


@dataclass(frozen=True)
class EagerSource:
    """``TrainingSource`` over stretches of the training sequences.

    ties: draws the order of what was taken at one moment anew in every epoch; None leaves it as it is
    """

    rows: TrainingRows
    ties: Ties | None = None
    _drawn: dict[int, TrainingRows] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_targets(self) -> int:
        return self.rows.n_targets

    def steps(self, rows_per_step: int, seed: int, epoch: int, n_processes: int) -> list[Int64Array]:
        return epoch_batches(self.rows.lengths, rows_per_step, seed, epoch, n_processes)

    def batch(self, rows: Int64Array, device: torch.device, epoch: int) -> Batch:
        return Batch(*(torch.from_numpy(part).to(device) for part in self.rows_of(epoch).batch(rows)))

    def rows_of(self, epoch: int) -> TrainingRows:
        """The rows as an epoch reads them: the same stretches, with what was taken at one moment in the epoch's order.

        Targets move with their items, across the ends of windows too.
        """
        if self.ties is None:
            return self.rows
        if epoch not in self._drawn:
            self._drawn.clear()  # one epoch's copy at a time
            sequences = self.rows.sequences
            items = sequences.items[self.ties.order(epoch)]
            self._drawn[epoch] = replace(self.rows, sequences=replace(sequences, items=items))
        return self._drawn[epoch]

    def describe(self, rows: Int64Array) -> str:
        sequences = self.rows.sequences
        owner = sequences.user[sequences.offsets.searchsorted(self.rows.start[rows[:5]], side="right") - 1]
        return f"{len(rows)} training rows, of users {owner.tolist()} (rows of users.parquet) and others"
