"""What EmbSum's decoder learns from: the summary of any history, written on the fly or looked up."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from gen_rec.errors import GenRecError
from gen_rec.run import Run
from gen_rec.summaries.config import SummaryConfig
from gen_rec.summaries.store import Keys, SummaryStore
from gen_rec.summaries.template import TemplateWriter

Teacher = Callable[[Sequence[np.ndarray]], list[str | None]]


def teacher(config: SummaryConfig, items: pl.DataFrame, run: Run) -> Teacher:
    """A function from histories (rows of ``items``, oldest first) to their summaries, None where there is none.

    The template writes any history. A language model's summaries are those in the run, so they are there only for the
    histories that ``gen-rec summarize`` had: whole training parts without the last item, and those of the splits.

    raises GenRecError where the run has none of this back end and these settings.
    """
    if config.backend == "template":
        writer = TemplateWriter(items, config.max_items)
        return lambda histories: [writer.write(history) for history in histories]
    rows = answers(run).read().drop_nulls("summary")
    known: dict[str, str] = dict(zip(rows["key"], rows["summary"], strict=True))
    keys = Keys(items, config)
    if not known:
        raise GenRecError(
            f"{run.summaries} has no summaries by {config.backend}; make them with: "
            f"gen-rec summarize --run {run.folder} --split train"
        )
    return lambda histories: [known.get(keys.of(history)) for history in histories]


def answers(run: Run) -> SummaryStore:
    """Where a run keeps what language models have answered."""
    return SummaryStore(run.summaries / "answers")
