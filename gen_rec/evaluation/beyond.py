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
        places = np.arange(max(cuts))
        self.cuts = tuple(cuts)
        self.popularity = np.append(counts, 0.0)  # (n_items + 1,) the last is "nothing"
        self.information = np.append(-np.log2((counts + 1.0) / (counts.sum() + len(counts))), 0.0)
        self.inside = (places[:, None] < np.array(self.cuts)).astype(np.float64)  # (places, cuts)
        self.marks = np.zeros((len(self.cuts), len(counts) + 1), dtype=bool)  # stood before this cut and after the last
        self.start = np.searchsorted(np.sort(self.cuts), places, side="right") * (len(counts) + 1)  # a place's marks
        self.sums = np.zeros((n_cases, len(self.cuts), 3), dtype=np.float32)  # places, information, popularity

    def add(self, rows: np.ndarray, items: np.ndarray) -> None:
        """Take lists of new cases. rows: (b,) case of each; items: (b, k) int, -1 where there is nothing."""
        cells = np.ascontiguousarray(items[:, : len(self.inside)])  # (b, places)
        inside = self.inside[: cells.shape[1]]
        worth = ((cells >= 0).astype(float), self.information[cells], self.popularity[cells])  # -1 reads the last, 0
        self.sums[rows] = np.stack([values @ inside for values in worth], axis=2)
        self.marks.reshape(-1)[cells + self.start[: cells.shape[1]]] = True  # -1 marks a row's last entry, never read

    def merge(self, rows: np.ndarray, sums: np.ndarray, marks: np.ndarray) -> None:
        """Take another process's tally. rows: (m,) new cases; sums: (m, cuts, 3); marks: (cuts, n_items + 1)."""
        self.sums[rows] = sums
        self.marks |= marks

    def figures(self) -> dict[str, float]:
        """``coverage@k``, ``novelty@k``, ``popularity@k`` for every cut; 0 where nothing was recommended."""
        places, information, popularity = self.sums.sum(0, dtype=np.float64).T  # (cuts,) each
        n_items = max(self.marks.shape[1] - 1, 1)
        figures: dict[str, float] = {}
        for cut in self.cuts:
            shown = self.marks[: sum(other <= cut for other in self.cuts), :-1].any(0)  # (n_items,)
            figures[f"coverage@{cut}"] = float(shown.sum() / n_items)
        for name, total in (("novelty", information), ("popularity", popularity)):
            for c, cut in enumerate(self.cuts):
                figures[f"{name}@{cut}"] = float(total[c] / max(places[c], 1.0))
        return figures
