"""Popularity: the same list for everyone, by how often training saw an item."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.accuracy.rivals.method import Fitted, Job, Rival
from gen_rec.data.interactions import Sequences


@dataclass
class PopularitySettings:
    """There is nothing to set."""


class Popularity:
    """counts: (n_items,) training interactions of each item"""

    def __init__(self, counts: Tensor) -> None:
        self.counts = counts.float()

    def scores(self, histories: Sequences) -> Tensor:
        """(rows, n_items), the counts, whatever the history."""
        return self.counts.repeat(len(histories), 1)


def fit(job: Job, settings: PopularitySettings, folder: Path, key: str) -> Fitted:
    """Count the training part."""
    return Fitted(Popularity(torch.from_numpy(job.dataset.train_counts())), {})


POPULARITY = Rival("popularity", PopularitySettings, fit)
