"""What EmbSum learns from impressions: a click against what was shown beside it and was not clicked.

Everything that is drawn depends on the seed, the epoch and the step's rows only, so an interrupted training that goes
on sees what an uninterrupted one sees.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gen_rec.data.batches import epoch_batches
from gen_rec.data.interactions import Int64Array, Sequences, offsets_of, ranges
from gen_rec.embsum.batches import EmbSumBatch, Teacher, summary_tokens
from gen_rec.embsum.tokens import ItemTokens
from gen_rec.errors import DataError
from gen_rec.impressions.config import ImpressionConfig
from gen_rec.impressions.table import Impressions
from gen_rec.retrieval import take


def label_counts(impressions: Impressions) -> tuple[Int64Array, Int64Array]:
    """Clicked and unclicked candidates of each impression, (n,) and (n,)."""
    counts = [
        np.bincount(impression_of(impressions, np.flatnonzero(impressions.labels == label)), minlength=len(impressions))
        for label in (1, 0)
    ]
    return counts[0], counts[1]


def impression_of(impressions: Impressions, places: Int64Array) -> Int64Array:
    """The impressions that some candidates belong to. places: (k,) in ``candidates``; returns (k,)"""
    return np.searchsorted(impressions.offsets, places, side="right") - 1


class ImpressionExamples:
    """Training impressions as a ``TrainingSource``: a row for each click with a history and something not clicked.

    items:     all items' tokens
    tokenizer: of the backbone, for summaries
    teacher:   writes summaries; None where no summary is learnt
    clicks:    (rows,) places in ``impressions.candidates``
    impression: (rows,) whose click it is
    """

    def __init__(
        self,
        impressions: Impressions,
        items: ItemTokens,
        config: ImpressionConfig,
        tokenizer: object,
        teacher: Teacher | None,
        seed: int,
    ) -> None:
        """raises DataError where no click can be learnt from."""
        self.impressions, self.items, self.config = impressions, items, config
        self.tokenizer, self.teacher, self.seed = tokenizer, teacher, seed
        clicks = np.flatnonzero(impressions.labels == 1)
        owner = impression_of(impressions, clicks)
        lengths = impressions.histories.lengths[impressions.history[owner]]
        usable = lengths > 0
        if not config.uniform_negatives:
            usable &= label_counts(impressions)[1][owner] > 0
        self.clicks, self.impression = clicks[usable], owner[usable]
        self.lengths = np.minimum(lengths[usable], items.config.max_items)
        if not len(self.clicks):
            raise DataError(
                f"{len(impressions)} training impressions with {len(clicks)} clicks, and none has a history, a click "
                "and a candidate that was not clicked: there is nothing to learn; give impressions with labels"
            )
        self.clicked = _by_user(impressions, clicks, owner)
        shown = np.bincount(impressions.candidates, minlength=items.n_items)
        self.pool = np.flatnonzero(shown)  # what uniform negatives are drawn from

    def __len__(self) -> int:
        return len(self.clicks)

    @property
    def n_targets(self) -> int:
        """Clicks of an epoch."""
        return len(self.clicks)

    def steps(self, rows_per_step: int, seed: int, epoch: int, n_processes: int) -> list[Int64Array]:
        """Rows of each step of an epoch, those of like length together."""
        return epoch_batches(self.lengths, rows_per_step, seed, epoch, n_processes)

    def batch(self, rows: Int64Array, device: torch.device, epoch: int) -> EmbSumBatch:
        """Some clicks with what counts against them, on a device."""
        impressions, n_items = self.impressions, self.items.n_items
        owner = self.impression[rows]
        histories = take(impressions.histories, impressions.history[owner])
        positives = impressions.candidates[self.clicks[rows]].astype(np.int64)
        rng = np.random.default_rng([self.seed, epoch, 2, *rows[:2].tolist()])
        row, own = self._own_negatives(owner, rng)
        uniform = self.pool[rng.integers(len(self.pool), size=self.config.uniform_negatives)]
        candidates = np.unique(np.concatenate([positives, own, uniform]))
        negative = np.zeros((len(rows), len(candidates)), dtype=bool)
        if len(uniform):
            known = self._known(histories, impressions.user[owner])
            grid = np.arange(len(rows))[:, None] * n_items + candidates
            negative |= np.isin(candidates, uniform) & ~np.isin(grid, known)
        negative[row, np.searchsorted(candidates, own)] = True
        return EmbSumBatch(
            self.items.histories(histories).to(device),
            self.items.candidates(candidates).to(device),
            torch.arange(len(rows), device=device),
            torch.from_numpy(np.searchsorted(candidates, positives)).to(device),
            torch.from_numpy(negative).to(device),
            self._summaries(histories, device),
        )

    def describe(self, rows: Int64Array) -> str:
        """Whose rows these are, for an error."""
        names = ", ".join(map(str, self.impressions.ids[self.impression[rows[:5]]]))
        return f"{len(rows)} clicks, of the impressions {names} and others"

    def _own_negatives(self, owner: Int64Array, rng: np.random.Generator) -> tuple[Int64Array, Int64Array]:
        """For each row up to ``negatives`` different items of its impression that were not clicked in it.

        owner:   (rows,) impressions
        returns  (k,) rows, ascending, and (k,) items
        """
        impressions, n_items = self.impressions, self.items.n_items
        starts, lengths = impressions.offsets[owner], impressions.offsets[owner + 1] - impressions.offsets[owner]
        places = ranges(starts, lengths)
        keys = np.repeat(np.arange(len(owner)), lengths) * n_items + impressions.candidates[places]
        labels = impressions.labels[places]
        keys = np.setdiff1d(keys[labels == 0], keys[labels == 1])  # ascending, each once
        row = keys // n_items
        shuffled = np.lexsort((rng.random(len(keys)), row))  # rows stay in order, items in a row do not
        first = np.searchsorted(row, np.arange(len(owner)))
        chosen = keys[shuffled][np.arange(len(keys)) - first[row] < self.config.negatives]
        return chosen // n_items, chosen % n_items

    def _known(self, histories: Sequences, users: NDArray[np.int32]) -> Int64Array:
        """row * n_items + item for the items of each row's history and all that its user clicked."""
        clicked = take(self.clicked, users.astype(np.int64))
        return np.concatenate([
            np.repeat(np.arange(len(users)), lists.lengths) * self.items.n_items + lists.items
            for lists in (histories, clicked)
        ])  # fmt: skip

    def _summaries(self, histories: Sequences, device: torch.device) -> Tensor | None:
        if self.teacher is None:
            return None
        texts = self.teacher([histories[i] for i in range(len(histories))])
        most = self.items.config.summary_tokens
        return summary_tokens(texts, self.tokenizer, self.items.end, most).to(device)


def _by_user(impressions: Impressions, clicks: Int64Array, owner: Int64Array) -> Sequences:
    """What every user clicked, list u of user u. clicks: (k,) places; owner: (k,) their impressions"""
    n_users = len(impressions.user_ids)
    user = impressions.user[owner]
    order = np.argsort(user, kind="stable")
    return Sequences(
        offsets_of(np.bincount(user, minlength=n_users)),
        impressions.candidates[clicks[order]],
        np.arange(n_users, dtype=np.int32),
    )
