"""Interactions of one user at one moment: nobody knows their order, so training may draw it anew in every epoch."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen_rec.data import columns as c
from gen_rec.data.config import DataConfig
from gen_rec.data.interactions import Dataset

Int64Array = NDArray[np.int64]

STREAM = 0x71E5
"""Keeps these draws apart from the other ones of an epoch, which are seeded by seed and epoch as well."""


@dataclass(frozen=True)
class Ties:
    """Which interactions of the training part were taken at one moment, and how their orders are drawn.

    moment: (n,) int64, ascending; the same number for interactions of one user with one timestamp
    seed:   of the draws
    """

    moment: Int64Array
    seed: int

    @classmethod
    def asked_for(cls, dataset: Dataset, config: DataConfig) -> "Ties | None":
        """As ``of``, where ``data.tie_order`` is "redrawn"; None elsewhere."""
        return cls.of(dataset, config.tie_seed) if config.tie_order == "redrawn" else None

    @classmethod
    def of(cls, dataset: Dataset, seed: int) -> "Ties":
        """Of the interactions of ``dataset.train_sequences()``, in their order."""
        kept = dataset.split == c.TRAIN
        users, times = dataset.user_of_row[kept], dataset.timestamps[kept]
        new = (users[1:] != users[:-1]) | (times[1:] != times[:-1])
        return cls(np.append(0, np.cumsum(new, dtype=np.int64))[: len(users)], seed)

    def order(self, epoch: int) -> Int64Array:
        """(n,) int64: which interaction stands at each place in an epoch; the same whenever it is asked for."""
        chance = np.random.default_rng([self.seed, epoch, STREAM]).random(len(self.moment))
        return np.lexsort((chance, self.moment))
