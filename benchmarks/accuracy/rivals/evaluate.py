"""The figures of a rival on a split: the whole catalogue ranked for every case, raw and filtered."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy.rivals.method import Scorer
from gen_rec.data.interactions import Dataset, Sequences
from gen_rec.evaluate import cases_to_rank
from gen_rec.evaluation.config import EvaluationConfig
from gen_rec.evaluation.evaluator import Evaluation, Evaluator
from gen_rec.evaluation.metrics import CUTS
from gen_rec.retrieval import take
from indexing import Ranked
from indexing.ranking import ranked, top_k

BLOCK_CELLS = 1 << 22
"""Users x items that are scored at once: 16 MB."""


def evaluate(
    scorer: Scorer,
    dataset: Dataset,
    split: Literal["valid", "test"],
    method: str,
    config: EvaluationConfig,
    max_users: int = 0,
) -> Evaluation:
    """Rank the catalogue for the cases of a split.

    method:    the name that the figures get
    max_users: only so many cases, drawn once with a fixed seed; 0 takes all
    raises     DataError where the split holds no case.
    """
    cases, rows = cases_to_rank(dataset, split, max_users)
    rows = rows[np.argsort(cases.lengths[rows], kind="stable")]  # histories of like length are padded little
    evaluator = Evaluator(cases, dataset.train_counts(), config)
    step = max(1, BLOCK_CELLS // dataset.n_items)
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        histories = take(cases, some)
        raw, filtered = both_ways(scorer.scores(histories), histories, max(CUTS) + 1)
        evaluator.add(some, {method: raw}, {method: filtered})
    return evaluator.finish(partial=len(rows) < len(cases))


def both_ways(scores: Tensor, histories: Sequences, k: int) -> tuple[Ranked, Ranked]:
    """The k best items of each row, and the k best that are not in its history.

    scores: (rows, n_items); what was scored for items of the histories is overwritten
    """
    raw = best(scores, k)
    row = np.repeat(np.arange(len(histories)), histories.lengths)
    scores[torch.from_numpy(row), torch.from_numpy(histories.items.astype(np.int64))] = -torch.inf
    return raw, best(scores, k)


def best(scores: Tensor, k: int) -> Ranked:
    """(rows, n_items) -> the k best of each row, -1 where fewer are above -inf."""
    values, items = top_k(scores, k)
    return ranked(items, values, k)
