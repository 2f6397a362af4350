"""A model's figures on a split: search every case, gather the ranks, on one process or on many."""

import logging
from collections.abc import Iterator
from typing import Literal

import numpy as np
from accelerate.utils import gather_object
from numpy.typing import NDArray
from tqdm import tqdm

from gen_rec.data.interactions import Cases, Dataset
from gen_rec.errors import DataError
from gen_rec.evaluation.config import EvaluationConfig
from gen_rec.evaluation.evaluator import Evaluation, Evaluator
from gen_rec.evaluation.metrics import CUTS
from gen_rec.models.two_stream import TwoStreamModel
from gen_rec.popular import Popular
from gen_rec.retrieval import Rankings, SearchConfig, search_cases
from indexing import Fused, Ranked

logger = logging.getLogger(__name__)

FUSED = "eager-fused"
Methods = dict[str, Ranked | Fused]
"""Lists by the protocol's names."""


def method_name(stream: str) -> str:
    """The protocol's name for the ranking of one stream."""
    return f"eager-{stream}"


def headline_method(model: TwoStreamModel) -> str:
    """The ranking that stands for a model: the fused one, or that of its only stream."""
    streams = list(model.decoders)
    return FUSED if len(streams) == 2 else method_name(streams[0])


def as_methods(rankings: Rankings) -> Methods:
    """Lists by the protocol's names."""
    methods: Methods = {method_name(name): found for name, found in rankings.streams.items()}
    if rankings.fused is not None:
        methods[FUSED] = rankings.fused
    return methods


def ranked_cases(
    model: TwoStreamModel, dataset: Dataset, cases: Cases, rows: NDArray[np.int64], k: int, search: SearchConfig
) -> Iterator[tuple[NDArray[np.int64], Methods, Methods]]:
    """Search some cases, a batch at a time, in batches of like length.

    A case without a history has the most popular items in all rankings, as ``Recommender.recommend`` gives them.

    rows:   (n,) which cases
    yields  the rows of a batch, its lists with the items of the histories, and those without, k places each.
    """
    popular = Popular.of(dataset.train_counts())
    for batch, *found in search_cases(model, cases, rows, k, search):
        empty = cases.lengths[batch] == 0
        raw, filtered = (popular.fill(as_methods(rankings), empty) for rankings in found)
        yield batch, raw, filtered


def cases_to_rank(
    dataset: Dataset, split: Literal["valid", "test"], max_users: int = 0
) -> tuple[Cases, NDArray[np.int64]]:
    """The cases of a split, and the rows of those to work on, ascending.

    max_users: only so many, drawn once with a fixed seed; 0 takes all
    raises     DataError where the split holds no case.
    """
    cases = dataset.cases(split)
    if not len(cases):
        raise DataError(f"the {split} split has no interaction; see data.split, or give users three interactions")
    rows = np.arange(len(cases))
    if max_users and max_users < len(rows):
        rows = np.sort(np.random.default_rng(0).choice(rows, max_users, replace=False))
    return cases, rows


def evaluate_model(
    model: TwoStreamModel,
    dataset: Dataset,
    split: Literal["valid", "test"],
    search: SearchConfig,
    config: EvaluationConfig,
    max_users: int = 0,
    process: int = 0,
    n_processes: int = 1,
    progress: bool = True,
) -> Evaluation:
    """Rank the catalogue for every case of a split, per stream and fused, raw and filtered; see ``ranked_cases``.

    max_users:            evaluate only so many cases, drawn once with a fixed seed; 0 takes all
    process, n_processes: each process searches its share; all of them return the whole evaluation
    raises DataError where the split holds no case.
    """
    cases, rows = cases_to_rank(dataset, split, max_users)
    evaluator = Evaluator(cases, dataset.train_counts(), config)
    mine = rows[process::n_processes]
    with tqdm(total=len(mine), desc=f"search {split}", unit="user", leave=False, disable=not progress) as bar:
        for batch, raw, filtered in ranked_cases(model, dataset, cases, mine, max(CUTS) + 1, search):
            evaluator.add(batch, raw, filtered)
            bar.update(len(batch))
    if n_processes > 1:
        for other, state in enumerate(gather_object([evaluator.state()])):
            if other != process:
                evaluator.merge(state)
    return evaluator.finish(partial=len(rows) < len(cases))
