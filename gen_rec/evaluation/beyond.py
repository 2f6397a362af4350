"""What accuracy does not tell: how much of the catalogue is shown, and how well known it is already."""

from collections.abc import Sequence

import numpy as np

from gen_rec.evaluation.metrics import CUTS


class BeyondTally:
    """Coverage, novelty and popularity of recommended items, gathered list by list.

    Coverage@k is the share of the catalogue that stands in at least one list cut at k. Novelty@k is the mean
    over all recommended places of -log2 of the item's share of the training interactions, (count + 1) /
    (total + n_items), where the added one keeps an item that training never saw finite: in bits, the larger
    the less known. Mean popularity@k is the mean over the same places of the item's training interactions.

    Only sums, counts and a mark an item are kept, never the lists. ``sums`` has one row a case, and marks can
    be set twice, so tallies of several processes merge without counting anyone twice.
    """

    def __init__(self, n_cases: int, train_counts: np.ndarray, cuts: Sequence[int] = CUTS) -> None:
        """n_cases: rows to come; train_counts: (n_items,) training interactions of each item."""
        counts = np.asarray(train_counts, dtype=np.float64)
        self.cuts = tuple(cuts)
        self.popularity = np.append(counts, 0.0)  # (n_items + 1,) the last is "nothing"
        self.information = np.append(-np.log2((counts + 1.0) / (counts.sum() + len(counts))), 0.0)
        self.shown = np.zeros((len(self.cuts), len(counts)), dtype=bool)
        self.sums = np.zeros((n_cases, len(self.cuts), 3), dtype=np.float32)  # places, information, popularity

    def add(self, rows: np.ndarray, items: np.ndarray) -> None:
        """Take lists of new cases. rows: (b,) case of each; items: (b, k) int, -1 where there is nothing."""
        cells = items[:, : max(self.cuts)]  # (b, places)
        worth = (cells >= 0, self.information[cells], self.popularity[cells])  # -1 reads the last entry, 0
        for c, cut in enumerate(self.cuts):
            for figure, values in enumerate(worth):
                self.sums[rows, c, figure] = values[:, :cut].sum(1)
            self.shown[c, cells[:, :cut][worth[0][:, :cut]]] = True

    def merge(self, rows: np.ndarray, sums: np.ndarray, shown: np.ndarray) -> None:
        """Take another process's tally. rows: (m,) new cases; sums: (m, cuts, 3); shown: (cuts, n_items)."""
        self.sums[rows] = sums
        self.shown |= shown

    def figures(self) -> dict[str, float]:
        """``coverage@k``, ``novelty@k``, ``popularity@k`` for every cut; 0 where nothing was recommended."""
        places, information, popularity = self.sums.sum(0, dtype=np.float64).T  # (cuts,) each
        n_items = max(self.shown.shape[1], 1)
        figures: dict[str, float] = {}
        for c, cut in enumerate(self.cuts):
            figures[f"coverage@{cut}"] = float(self.shown[c].sum() / n_items)
        for name, total in (("novelty", information), ("popularity", popularity)):
            for c, cut in enumerate(self.cuts):
                figures[f"{name}@{cut}"] = float(total[c] / max(places[c], 1.0))
        return figures
