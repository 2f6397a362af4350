"""What users are interested in, in EmbSum's words: greedy summaries, as partitions that a killed command goes on from.

<run>/embsum/summaries_<split>.parquet   user_id, summary
<run>/embsum/summaries_<split>.json      counts, seconds, ROUGE-L against the teacher's
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import torch

from gen_rec.config import Config
from gen_rec.data.interactions import Dataset, Int64Array
from gen_rec.embsum.batches import case_tokens
from gen_rec.embsum.catalogue import gap_times, item_tokens
from gen_rec.embsum.encode import PARTITION_ROWS, Split, in_bfloat16, model_key, products
from gen_rec.embsum.model import CONFIG_FILE, EmbSum
from gen_rec.embsum.tokens import HistoryTokens
from gen_rec.engine import Engine, Job, Partitions, Work
from gen_rec.errors import MissingExtra
from gen_rec.evaluate import cases_to_rank
from gen_rec.files import atomic_path, content_hash, write_json
from gen_rec.run import Run
from gen_rec.summaries.rouge import mean_rouge_l
from gen_rec.summaries.teacher import teacher

logger = logging.getLogger(__name__)

BATCH_USERS = 64
"""Users whose summaries are written at once."""
SCHEMA = pa.schema([pa.field("case", pa.int64()), pa.field("user_id", pa.string()), pa.field("summary", pa.string())])


def summaries_file(run: Run, split: Split) -> Path:
    return run.embsum / f"summaries_{split}.parquet"


def run_generate(
    config: Config,
    split: Split = "test",
    limit: int = 0,
    engine: Engine | None = None,
    partition_rows: int = PARTITION_ROWS,
) -> dict[str, Any]:
    """Write the summaries of a split's users. A user without a history has an empty one.

    limit:   users at most, drawn with a fixed seed; 0 takes all
    returns  what is in the JSON file. ``rouge_l`` is the mean over the users that the teacher has a summary of, null
             where the extra [summaries] is not installed or there is no such user.
    """
    run = Run(config.run)
    model = run.embsum / "model"
    run.need(model / CONFIG_FILE, "embsum train")
    dataset = Dataset.load(run.need(run.data, "prepare"))
    cases, rows = cases_to_rank(dataset, split, limit)
    wanted = teacher(config.summaries, dataset.items, run)([cases[int(row)] for row in rows])
    started = time.perf_counter()
    work = _Open(model.resolve(), run.data.resolve(), split, rows, partition_rows, in_bfloat16(config))
    path = summaries_file(run, split)
    found = _generate(work, path.with_suffix(".parts"), engine or Engine())
    seconds = time.perf_counter() - started
    with atomic_path(path) as temporary:
        found.select("user_id", "summary").write_parquet(temporary)
    texts = found["summary"].to_list()
    told = {
        "split": split,
        "users": len(texts),
        "empty": texts.count(""),
        "distinct": len(set(texts)),
        "words": round(float(np.mean([len(text.split()) for text in texts])), 1),
        "seconds": round(seconds, 1),
        **_against_teacher(config.summaries.backend, wanted, texts),
    }
    write_json(path.with_suffix(".json"), told)
    return told


def write_summaries(model: EmbSum, lengths: Int64Array, tokens_of: Callable[[Int64Array], HistoryTokens]) -> list[str]:
    """The model's own summaries of histories, in their order; like lengths share a batch.

    lengths:   (n,) items of each history
    tokens_of: numbers of histories -> their tokens
    """
    texts = [""] * len(lengths)
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), BATCH_USERS):
        some = order[start : start + BATCH_USERS]
        written = model.write(tokens_of(some).to(model.device))
        for place, text in zip(some, model.summary_texts(written), strict=True):
            texts[place] = text
    return texts


@dataclass(frozen=True)
class _Open:
    """``Job.open``, as a class so that it can be sent to another machine. rows: the cases, ascending"""

    model: Path
    data: Path
    split: Split
    rows: Int64Array
    partition_rows: int
    bfloat16: bool

    def key(self) -> str:
        settings = [self.split, self.partition_rows, self.bfloat16]
        return content_hash(settings, self.rows.tobytes(), model_key(self.model), *sorted(self.data.glob("*.parquet")))

    def __call__(self, device: str) -> Work:
        model = EmbSum.load(self.model).to(device)
        dataset = Dataset.load(self.data)
        tokens, cases = item_tokens(dataset, model), dataset.cases(self.split)
        times = gap_times(dataset, cases, model.config)

        def work(number: int) -> Iterator[pa.Table]:
            rows = self.rows[number * self.partition_rows : (number + 1) * self.partition_rows]
            with torch.no_grad(), products(self.bfloat16, device):
                texts = write_summaries(
                    model, cases.lengths[rows], lambda some: case_tokens(tokens, cases, rows[some], times)
                )
            yield pa.table([rows, dataset.user_ids[cases.user[rows]].tolist(), texts], schema=SCHEMA)

        return work


def _generate(work: _Open, folder: Path, engine: Engine) -> pl.DataFrame:
    n_partitions = -(-len(work.rows) // work.partition_rows)
    job = Job(work.key(), n_partitions, SCHEMA, work, "summaries")
    partitions = Partitions(folder.resolve(), job.key)
    partitions.clean()
    for _ in engine.run(job, partitions, partitions.missing(n_partitions)):
        pass
    found = pl.concat([pl.read_parquet(partitions.path(number)) for number in range(n_partitions)])
    shutil.rmtree(folder)
    return found


def _against_teacher(backend: str, wanted: list[str | None], texts: list[str]) -> dict[str, Any]:
    known = sum(text is not None for text in wanted)
    told: dict[str, Any] = {"teacher": backend, "with_teacher": known, "rouge_l": None}
    if known:
        try:
            told["rouge_l"] = round(mean_rouge_l(texts, wanted), 4)
        except MissingExtra as error:
            logger.warning("%s", error)
    return told
