"""How well EmbSum alone finds a user's next item in the whole catalogue, for each state of its decoder."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from gen_rec.data.interactions import Cases, Dataset, Int64Array
from gen_rec.embsum.catalogue import encode_cases, encode_items, gap_times, rank_both_ways
from gen_rec.embsum.model import EmbSum
from gen_rec.embsum.tokens import ItemTokens
from gen_rec.evaluation.config import EvaluationConfig
from gen_rec.evaluation.evaluator import MODES, Evaluator
from gen_rec.evaluation.metrics import CUTS
from gen_rec.retrieval import take

METHOD = "embsum"
"""The protocol's name for EmbSum's ranking of the whole catalogue."""
SHOWN = ("ndcg@10", "recall@10")


class Validation:
    """Figures of a model on some validation users, the same each time: catalogue and users encoded anew, all ranked.

    tokens:    of the catalogue
    max_users: drawn once with a fixed seed; 0 takes all
    config:    of the evaluation
    """

    def __init__(
        self,
        accelerator: Accelerator,
        model: EmbSum,
        dataset: Dataset,
        tokens: ItemTokens,
        max_users: int,
        config: EvaluationConfig,
    ) -> None:
        self.accelerator, self.model, self.config = accelerator, model, config
        self.cases: Cases = dataset.cases("valid")
        self.rows = np.arange(len(self.cases))
        if max_users and max_users < len(self.rows):
            self.rows = np.sort(np.random.default_rng(0).choice(self.rows, max_users, replace=False))
        self.train_counts = dataset.train_counts()
        self.tokens = tokens
        self.times = gap_times(dataset, self.cases, model.config)

    def __call__(self) -> dict[str, float]:
        """NDCG and Recall at 10, raw and filtered, over the users of all processes; and the seconds it took."""
        started = time.perf_counter()
        figures = self.figures(self.encoded_items())
        return {**figures, "seconds": time.perf_counter() - started}

    def encoded_items(self) -> torch.Tensor:
        """(n_items, n, d)"""
        self.model.eval()
        with self.accelerator.autocast():
            return torch.cat(list(encode_items(self.model, self.tokens, np.arange(self.tokens.n_items))))

    def figures(self, items: torch.Tensor) -> dict[str, float]:
        """The same with the catalogue given, (n_items, n, d)."""
        accelerator = self.accelerator
        self.model.eval()
        mine: Int64Array = self.rows[accelerator.process_index :: accelerator.num_processes]
        evaluator = Evaluator(self.cases, self.train_counts, self.config)
        if len(mine):
            with accelerator.autocast():
                users = torch.cat(list(encode_cases(self.model, self.tokens, self.cases, mine, self.times)))
            histories = take(self.cases, mine)
            raw, filtered = rank_both_ways(self.model.score, users, items, histories, max(CUTS) + 1)
            evaluator.add(mine, {METHOD: raw}, {METHOD: filtered})
        if accelerator.num_processes > 1:
            for other, state in enumerate(gather_object([evaluator.state()])):
                if other != accelerator.process_index:
                    evaluator.merge(state)
        metrics = evaluator.finish(partial=True).methods[METHOD].metrics
        return {f"{mode}/{name}/{METHOD}": metrics[mode][name] for mode in MODES for name in SHOWN}


def compare_states(validation: Validation, select: str) -> dict[str, Any]:
    """The same weights ranked by the decoder's state at its start, and at the end of the summary it writes.

    select:  the figure that decides
    returns  ``{"learnt_with": state, "n_users": ..., "best": state, "states": {state: {figure: value, "seconds"}}}``.
             A model without a learnt summary has the first state only.
    """
    model = validation.model
    items = validation.encoded_items()
    states: dict[str, dict[str, float]] = {}
    for state in ("start", "summary") if model.config.summary_weight else ("start",):
        started = time.perf_counter()
        with _state(model, state):
            figures = validation.figures(items)
        states[state] = {**figures, "seconds": round(time.perf_counter() - started, 1)}
    return {
        "learnt_with": model.config.state,
        "n_users": len(validation.rows),
        "best": max(states, key=lambda state: states[state][select]),
        "states": states,
    }


@contextmanager
def _state(model: EmbSum, state: Any) -> Iterator[None]:
    """Within the block the model has that state."""
    kept = model.config
    model.config = replace(kept, state=state, summary_share=1.0)  # a share below 1 cannot learn the other state
    try:
        yield
    finally:
        model.config = kept
