"""Training rows as right-aligned batches."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gen_rec.data.batches import Int64Array, causal_rows, prefix_rows
from gen_rec.data.interactions import Sequences
from gen_rec.data.ties import Ties
from gen_rec.training.eager_source import EagerSource


class NextItems(NamedTuple):
    """history: (rows, n) int64, -1 before the first item; targets: (rows, queries) int64, the items after the last
    ``queries`` places, -1 where nothing is learnt."""

    history: Tensor
    targets: Tensor

    @property
    def n_targets(self) -> int:
        """Targets of the batch."""
        return int((self.targets >= 0).sum())


class NextItemSource(EagerSource):
    """The rows that the generative model learns from, and their order; right-aligned."""

    @classmethod
    def of(cls, sequences: Sequences, max_history: int, every: bool, ties: Ties | None = None) -> "NextItemSource":
        """every: a target after every place of a window; otherwise each prefix is a row, with one target."""
        return cls((causal_rows if every else prefix_rows)(sequences, max_history), ties)

    def batch(self, rows: Int64Array, device: torch.device, epoch: int) -> NextItems:  # type: ignore[override]
        """As short as the longest history."""
        history, lengths, targets = self.rows_of(epoch).batch(rows)
        if self.rows.dense:
            targets = right_aligned(targets, lengths)
        return NextItems(
            torch.from_numpy(right_aligned(history, lengths)).to(device), torch.from_numpy(targets).to(device)
        )


def right_aligned(padded: Int64Array, lengths: Int64Array) -> Int64Array:
    """Move what stands at the start of each row to its end; (rows, n), -1 before it."""
    place = np.arange(padded.shape[1])
    moved = np.full_like(padded, -1)
    moved[place >= padded.shape[1] - lengths[:, None]] = padded[place < lengths[:, None]]
    return moved
