"""Evaluation as a stream: lists go in batch by batch, ranks and tallies stay, figures come out at the end."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gen_rec.evaluation.beyond import BeyondTally
from gen_rec.evaluation.bootstrap import bootstrap_intervals, paired_bootstrap
from gen_rec.evaluation.config import EvaluationConfig
from gen_rec.evaluation.metrics import CUTS, RankedLists, as_lists, open_ties, retrieval_metrics, target_ranks
from gen_rec.evaluation.slices import length_slicing, popularity_slicing, slice_metrics

if TYPE_CHECKING:
    from gen_rec.data.interactions import Cases

logger = logging.getLogger(__name__)

MODES: tuple[str, str] = ("raw", "filtered")
"""The two ways to rank: with the items of the history, and without."""

State = dict[str, Any]
"""What one process gathered: NumPy arrays in plain dictionaries, so that it can be pickled and sent."""


@dataclass(frozen=True)
class MethodEvaluation:
    """Every figure of one method; ``{mode: {name: value}}`` unless said otherwise."""

    metrics: dict[str, dict[str, float]]
    """Recall and NDCG, names as in the protocol."""
    intervals: dict[str, dict[str, list[float]]]
    """[low, high] of each metric over users."""
    beyond: dict[str, dict[str, float]]
    """Coverage, novelty and mean popularity."""
    slices: list[dict[str, Any]]
    """Metrics by popularity of the target and by length of the history, see ``slices.slice_metrics``."""
    ranks: dict[str, np.ndarray]
    """mode -> (n,) int32 rank of each case's target, ``metrics.MISS`` for a miss."""


@dataclass(frozen=True)
class Evaluation:
    """What an evaluator found, method by method."""

    methods: dict[str, MethodEvaluation]
    """By name, in the order in which they were first given."""
    rows: np.ndarray
    """(n,) the cases evaluated, ascending: all of them unless ``finish(partial=True)`` was asked for."""
    config: EvaluationConfig
    """The settings it was made with."""
    cuts: tuple[int, ...]
    """Where lists were cut."""

    def compare(self, a: str, b: str, mode: str) -> dict[str, dict[str, float]]:
        """Paired bootstrap of methods a and b on the same users; see ``bootstrap.paired_bootstrap``."""
        return paired_bootstrap(
            self.methods[a].ranks[mode],
            self.methods[b].ranks[mode],
            self.cuts,
            self.config.level,
            self.config.resamples,
            self.config.bootstrap_seed,
        )


class _Tally:
    """Ranks and tallies of one method in one mode."""

    def __init__(self, n_cases: int, train_counts: np.ndarray, cuts: Sequence[int]) -> None:
        self.ranks = np.zeros(n_cases, dtype=np.int32)  # 0 where no list came yet
        self.beyond = BeyondTally(n_cases, train_counts, cuts)
        self.open_ties = 0


class Evaluator:
    """Gathers ranked lists of any number of methods, in any order of cases, from any number of processes.

    A case whose lists are given twice counts once (the first time), so the padding that distributed samplers
    add does no harm. Memory: 40 bytes a case, method and mode, and a mark an item; no list is kept.

    >>> evaluator = Evaluator(dataset.cases("test"), dataset.train_counts())
    >>> evaluator.add(rows, raw={"eager-fused": ranked}, filtered={"eager-fused": ranked_unseen})
    >>> evaluation = evaluator.finish()
    >>> evaluation.methods["eager-fused"].metrics["filtered"]["ndcg@10"]
    """

    def __init__(
        self,
        cases: "Cases",
        train_counts: np.ndarray,
        config: EvaluationConfig | None = None,
        cuts: Sequence[int] = CUTS,
    ) -> None:
        """cases: targets and histories; train_counts: (n_items,) training interactions of each item."""
        self.target = np.asarray(cases.target, dtype=np.int64)  # (n,)
        self.lengths = np.diff(cases.offsets)  # (n,)
        self.train_counts = np.asarray(train_counts)
        self.config = config or EvaluationConfig()
        self.cuts = tuple(cuts)
        self.seen = np.zeros(len(self.target), dtype=bool)
        self._tallies: dict[str, dict[str, _Tally]] = {}
        n_items = len(self.train_counts)
        if len(self.target) and not 0 <= self.target.min() <= self.target.max() < n_items:
            raise ValueError(f"cases have targets outside 0..{n_items - 1}, the catalogue of train_counts")

    def add(self, rows: Any, raw: Mapping[str, Any], filtered: Mapping[str, Any]) -> None:
        """Take the lists of a batch of cases.

        rows:     (b,) int the case of each list, an index into ``cases``
        raw:      method -> lists (``items`` and ``scores``, each (b, k)) in which seen items may stand
        filtered: the same methods -> lists without the items of each history
        raises    ValueError for other rows, methods or shapes than these. Give k > max(cuts), so that ties at
                  the end of a list are counted exactly.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.target):
            raise ValueError(f"rows must lie in 0..{len(self.target) - 1}, got {rows.min()}..{rows.max()}")
        self._check_methods(list(raw), list(filtered))
        checked = {}
        for mode, lists in zip(MODES, (raw, filtered), strict=True):
            for method, given in lists.items():
                checked[mode, method] = self._check_lists(as_lists(given), len(rows), method, mode)
        new = np.zeros(len(rows), dtype=bool)
        new[np.unique(rows, return_index=True)[1]] = True  # the first of every row within the batch
        new &= ~self.seen[rows]
        fresh = rows[new]
        every = bool(new.all())
        for (mode, method), ranked in checked.items():
            items, scores = ranked if every else (ranked.items[new], ranked.scores[new])
            tally = self._tallies[method][mode]
            ranks = target_ranks(items, scores, self.target[fresh])
            tally.ranks[fresh] = ranks
            tally.open_ties += int(open_ties(items, scores, ranks, max(self.cuts)).sum())
            tally.beyond.add(fresh, items)
        self.seen[fresh] = True

    def _check_methods(self, raw: list[str], filtered: list[str]) -> None:
        if not raw or set(raw) != set(filtered):
            raise ValueError(f"every method needs a raw and a filtered list; got raw {raw} and filtered {filtered}")
        if not self._tallies:
            for method in raw:
                self._tallies[method] = {mode: _Tally(len(self.target), self.train_counts, self.cuts) for mode in MODES}
        if set(raw) != set(self._tallies):
            raise ValueError(f"every batch needs the same methods; first {list(self._tallies)}, now {raw}")

    def _check_lists(self, lists: RankedLists, n: int, method: str, mode: str) -> RankedLists:
        if len(lists.items) != n:
            raise ValueError(f"{method}, {mode}: {len(lists.items)} lists for {n} rows; give one list a row")
        if lists.items.size and lists.items.max() >= len(self.train_counts):
            raise ValueError(
                f"{method}, {mode}: item {lists.items.max()} is outside the catalogue of {len(self.train_counts)}"
            )
        return lists

    def state(self) -> State:
        """What this process gathered, to be sent to the one that calls ``merge``."""
        rows = np.flatnonzero(self.seen)
        return {
            "rows": rows,
            "methods": {
                method: {
                    mode: {
                        "ranks": tally.ranks[rows],
                        "sums": tally.beyond.sums[rows],
                        "marks": tally.beyond.marks,
                        "open_ties": tally.open_ties,
                    }
                    for mode, tally in modes.items()
                }
                for method, modes in self._tallies.items()
            },
        }

    def merge(self, state: State) -> None:
        """Take what another process gathered over the same cases; a case that is here already counts once."""
        if not len(state["rows"]):
            return
        self._check_methods(list(state["methods"]), list(state["methods"]))
        new = ~self.seen[state["rows"]]
        rows = state["rows"][new]
        for method, modes in state["methods"].items():
            for mode, other in modes.items():
                tally = self._tallies[method][mode]
                tally.ranks[rows] = other["ranks"][new]
                tally.beyond.merge(rows, other["sums"][new], other["marks"])
                tally.open_ties += other["open_ties"]
        self.seen[rows] = True

    def finish(self, partial: bool = False) -> Evaluation:
        """Every figure of every method.

        partial: accept that some cases have no list; otherwise that is a ValueError, since leaving users out
                 would change every figure
        """
        rows = np.flatnonzero(self.seen)
        missing = len(self.target) - len(rows)
        if not len(rows) or (missing and not partial):
            raise ValueError(
                f"{missing} of {len(self.target)} cases have no ranked list, the first is row "
                f"{int(np.argmin(self.seen)) if len(self.seen) else 0}; rank every case (an empty list is "
                "a miss)"
            )
        popularity = popularity_slicing(self.target[rows], self.train_counts, (self.config.tail, self.config.head))
        length = length_slicing(self.lengths[rows], self.config.length_edges)
        methods = {}
        for method, modes in self._tallies.items():
            ranks = {mode: tally.ranks[rows] for mode, tally in modes.items()}
            for mode, tally in modes.items():
                if tally.open_ties:
                    logger.warning(
                        "%s, %s: %d targets tie with the end of a list no longer than %d; they may rank "
                        "lower than counted, ask for one item more",
                        method,
                        mode,
                        tally.open_ties,
                        max(self.cuts),
                    )
            methods[method] = MethodEvaluation(
                metrics={mode: retrieval_metrics(values, self.cuts) for mode, values in ranks.items()},
                intervals={
                    mode: bootstrap_intervals(
                        values,
                        self.cuts,
                        self.config.level,
                        self.config.resamples,
                        self.config.bootstrap_seed,
                    )
                    for mode, values in ranks.items()
                },
                beyond={mode: tally.beyond.figures() for mode, tally in modes.items()},
                slices=slice_metrics(popularity, ranks, self.cuts) + slice_metrics(length, ranks, self.cuts),
                ranks=ranks,
            )
        return Evaluation(methods, rows, self.config, self.cuts)
