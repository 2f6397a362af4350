"""What EmbSum learns from: a history cut at some place, the items that follow, and shared negatives.

Everything that is drawn depends on the seed, the epoch and the step's rows only, so an interrupted training that goes
on sees what an uninterrupted one sees.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gen_rec.data.batches import epoch_batches
from gen_rec.data.interactions import Cases, Dataset, Int64Array, Sequences, offsets_of, ranges
from gen_rec.embsum.config import EmbSumConfig
from gen_rec.embsum.model import NOTHING
from gen_rec.embsum.tokens import HistoryTokens, ItemTokens, TokenLists
from gen_rec.retrieval import take

Teacher = Callable[[Sequence[NDArray[np.int32]]], list[str | None]]
"""Histories (item rows) -> their summaries, None where there is none."""


class EmbSumBatch(NamedTuple):
    """Histories, the candidates that all of them share, and who is whose positive."""

    histories: HistoryTokens
    candidates: TokenLists  # c lists
    rows: Tensor  # (targets,) int64: the history of each positive
    positives: Tensor  # (targets,) int64: its number among the candidates
    negative: Tensor  # (rows, c) bool: what counts against a history; never an item of its user
    summaries: Tensor | None  # (rows, tokens) int64, NOTHING after the end

    @property
    def n_targets(self) -> int:
        return len(self.rows)


class Examples:
    """The training part of a data set as examples: one for each user with two interactions or more.

    items:   all items' tokens
    teacher: writes or finds summaries; None where no summary is learnt
    times:   (n,) seconds of every interaction of ``sequences``, for sessions cut at gaps
    """

    def __init__(
        self,
        sequences: Sequences,
        items: ItemTokens,
        config: EmbSumConfig,
        tokenizer: object,
        teacher: Teacher | None,
        seed: int,
        times: Int64Array | None = None,
    ) -> None:
        self.sequences, self.items, self.config = sequences, items, config
        self.tokenizer, self.teacher, self.seed, self.times = tokenizer, teacher, seed, times
        self.users = np.flatnonzero(sequences.lengths >= 2)  # whose rows are numbered 0, 1, ...

    def __len__(self) -> int:
        return len(self.users)

    @property
    def n_targets(self) -> int:
        """Targets of an epoch, at least."""
        return len(self.users)

    def cuts(self, epoch: int) -> Int64Array:
        """Items of each row's history in an epoch, (rows,), at least 1."""
        lengths = self.sequences.lengths[self.users]
        if self.config.cuts == "last":
            return lengths - 1
        drawn = np.random.default_rng([self.seed, epoch, 1]).random(len(lengths))
        return 1 + (drawn * (lengths - 1)).astype(np.int64)

    def steps(self, rows_per_step: int, seed: int, epoch: int, n_processes: int) -> list[Int64Array]:
        """Rows of each step of an epoch, those of like length together."""
        return epoch_batches(self.cuts(epoch), rows_per_step, seed, epoch, n_processes)

    def batch(self, rows: Int64Array, device: torch.device, epoch: int) -> EmbSumBatch:
        """Some rows with their candidates, on a device."""
        users = self.users[rows]
        starts, lengths = self.sequences.offsets[users], self.sequences.lengths[users]
        cuts = self.cuts(epoch)[rows]
        places = ranges(starts, cuts)
        histories = Sequences(offsets_of(cuts), self.sequences.items[places], users.astype(np.int32))
        n_targets = np.minimum(self.config.targets, lengths - cuts)
        targets = self.sequences.items[ranges(starts + cuts, n_targets)]
        owner = np.repeat(np.arange(len(rows)), n_targets)

        rng = np.random.default_rng([self.seed, epoch, 2, *rows[:2].tolist()])
        uniform = rng.integers(self.items.n_items, size=self.config.uniform_negatives)
        shared = np.concatenate([targets, uniform]) if self.config.in_batch_negatives else uniform
        candidates = np.unique(np.concatenate([targets, uniform]))
        own = self.sequences.items[ranges(starts, lengths)].astype(np.int64)
        keys = np.repeat(np.arange(len(rows)), lengths) * self.items.n_items + own
        grid = np.arange(len(rows))[:, None] * self.items.n_items + candidates
        negative = np.isin(candidates, shared) & ~np.isin(grid, keys)  # (rows, c)
        return EmbSumBatch(
            self.items.histories(histories, None if self.times is None else self.times[places]).to(device),
            self.items.candidates(candidates).to(device),
            torch.from_numpy(owner).to(device),
            torch.from_numpy(np.searchsorted(candidates, targets)).to(device),
            torch.from_numpy(negative).to(device),
            self._summaries(histories, rng, device),
        )

    def describe(self, rows: Int64Array) -> str:
        """Whose rows these are, for an error."""
        return f"{len(rows)} training rows, of users {self.users[rows[:5]].tolist()} (rows of users.parquet) and others"

    def _summaries(self, histories: Sequences, rng: np.random.Generator, device: torch.device) -> Tensor | None:
        if self.teacher is None:
            return None
        n = max(1, round(self.config.summary_share * len(histories)))
        chosen = np.sort(rng.permutation(len(histories))[:n])
        texts: list[str | None] = [None] * len(histories)
        for i, text in zip(chosen, self.teacher([histories[i] for i in chosen]), strict=True):
            texts[i] = text
        return summary_tokens(texts, self.tokenizer, self.items.end, self.config.summary_tokens).to(device)


def summary_tokens(texts: Sequence[str | None], tokenizer: object, end: int, most: int) -> Tensor:
    """Summaries as (rows, tokens) int64: words, the end token, then NOTHING; a None is all NOTHING.

    most: tokens at most, the end token among them; of a longer text the beginning
    """
    words = tokenizer([text or "" for text in texts], add_special_tokens=False, verbose=False)["input_ids"]  # type: ignore[operator]
    lists = [[] if text is None else [*tokens[: most - 1], end] for text, tokens in zip(texts, words, strict=True)]
    table = np.full((len(lists), max(1, max(map(len, lists), default=1))), NOTHING, dtype=np.int64)
    for row, tokens in zip(table, lists, strict=True):
        row[: len(tokens)] = tokens
    return torch.from_numpy(table)


def train_times(dataset: Dataset) -> Int64Array:
    """Seconds of every interaction of ``dataset.train_sequences()``."""
    return dataset.timestamps[dataset.split == 0]


def case_times(dataset: Dataset, cases: Cases) -> Int64Array:
    """Seconds of every item of the cases' histories."""
    return dataset.timestamps[ranges(dataset.offsets[cases.user], cases.lengths)]


def case_tokens(
    items: ItemTokens, cases: Sequences, rows: NDArray[np.int64], times: Int64Array | None = None
) -> HistoryTokens:
    """The histories of some cases. times: ``case_times`` of all of them, for sessions cut at gaps"""
    some = None if times is None else times[ranges(cases.offsets[rows], cases.lengths[rows])]
    return items.histories(take(cases, rows), some)
