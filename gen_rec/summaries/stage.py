"""The stage ``summarize``: a summary of every user of a split, in the words of the chosen back end."""

import logging
import time
from collections import Counter
from dataclasses import asdict
from typing import Any, Literal, Protocol

import numpy as np
import polars as pl
import torch

from gen_rec.config import Config
from gen_rec.data.interactions import Dataset, Sequences, offsets_of, ranges
from gen_rec.files import atomic_path, write_json
from gen_rec.run import Run
from gen_rec.summaries.chat import Chat, Request
from gen_rec.summaries.config import SummaryConfig
from gen_rec.summaries.local import LocalModel
from gen_rec.summaries.prompt import Prompts
from gen_rec.summaries.store import SCHEMA, Answer, Keys, Saver
from gen_rec.summaries.teacher import answers
from gen_rec.summaries.template import TemplateWriter

logger = logging.getLogger(__name__)

Split = Literal["train", "valid", "test"]
NO_HISTORY = "the history is empty"


class Backend(Protocol):
    """Writes summaries; ``save`` gets each as it is done."""

    def write(self, requests: list[Request], save: Saver) -> None: ...


def run_summarize(config: Config, split: Split = "train", retry_failed: bool = False, limit: int = 0) -> dict[str, Any]:
    """Write ``summaries/<split>.parquet``, a row a user, and ``summaries/<split>.json``, what it took.

    What a language model has answered before is not asked again; what failed only if asked for.

    retry_failed: ask again where the last run got no summary
    limit:        only the first so many users; 0 for all
    returns       what the JSON file holds.
    """
    start = time.perf_counter()
    run, settings = Run(config.run), config.summaries
    dataset = Dataset.load(run.need(run.data, "prepare"))
    histories = histories_of(dataset, split)
    n = min(limit, len(histories)) if limit else len(histories)
    keys = Keys(dataset.items, settings)
    requests = [
        Request(keys.of(histories[i]), str(dataset.user_ids[histories.user[i]]), split, histories[i]) for i in range(n)
    ]
    if settings.backend == "template":
        writer = TemplateWriter(dataset.items, settings.max_items)
        done = {request.key: request.answer(writer.write(request.history), "") for request in requests}
        new = list(done.values())
    else:
        done, new = _by_model(config, run, dataset.items, requests, retry_failed)
    frame = pl.DataFrame([asdict(done[request.key]) for request in requests], schema=SCHEMA)
    users = pl.Series("user_id", [request.user_id for request in requests], dtype=pl.String)
    frame = frame.with_columns(users, pl.lit(split).alias("split"))
    with atomic_path(run.summaries / f"{split}.parquet") as temporary:
        frame.write_parquet(temporary)
    report = _report(settings, split, frame, new, time.perf_counter() - start)
    write_json(run.summaries / f"{split}.json", report)
    logger.info(
        "summaries of %s by %s: %d users, %d with a summary, %d failed; %d new, cost %g",
        split, settings.backend, report["users"], report["summaries"], report["failed"], report["new"], report["cost"],
    )  # fmt: skip
    return report


def histories_of(dataset: Dataset, split: Split) -> Sequences:
    """What a summary is about: the history of each case, or a training part without its last item.

    That item is what EmbSum learns to foresee. Users whose training part has fewer than two items are left out.
    """
    if split != "train":
        return dataset.cases(split)
    whole = dataset.train_sequences()
    kept = np.flatnonzero(whole.lengths >= 2)
    lengths = whole.lengths[kept] - 1
    items = whole.items[ranges(whole.offsets[kept], lengths)]
    return Sequences(offsets=offsets_of(lengths), items=items, user=whole.user[kept])


def _by_model(
    config: Config, run: Run, items: pl.DataFrame, requests: list[Request], retry_failed: bool
) -> tuple[dict[str, Answer], list[Answer]]:
    """Answers by key, of before and new ones; and the new ones."""
    settings, store = config.summaries, answers(run)
    done = {row["key"]: Answer(**row) for row in store.read().iter_rows(named=True)}
    if retry_failed:
        done = {key: answer for key, answer in done.items() if answer.summary is not None}
    wanted = {request.key: request for request in requests if request.key not in done}
    empty = [request for request in wanted.values() if not len(request.history)]
    pending = [request for request in wanted.values() if len(request.history)]
    logger.info("%s: %d histories, %d to ask %s for", settings.backend, len(requests), len(pending), settings.model)
    new: list[Answer] = []
    if pending:
        prompts = Prompts(items, settings)
        backend: Backend
        if settings.backend == "openai":
            backend = Chat(prompts, settings)
        else:
            backend = LocalModel(prompts, settings, _device(config))
        with Saver(store, settings.save_every) as saver:
            backend.write(pending, saver)
        new = saver.answers
        store.compact()
    done.update({answer.key: answer for answer in new})
    done.update({request.key: request.answer("", NO_HISTORY) for request in empty})
    return done, new


def _device(config: Config) -> str:
    return "cuda" if torch.cuda.is_available() and not config.training.cpu else "cpu"


def _report(
    settings: SummaryConfig, split: str, frame: pl.DataFrame, new: list[Answer], seconds: float
) -> dict[str, Any]:
    """Counts, reasons of failures, tokens and cost of all users' answers and of the new ones, and seconds."""
    failures = Counter(frame["error"].drop_nulls().to_list())
    asked = frame.unique("key")

    def cost(tokens_in: int, tokens_out: int) -> float:
        return round((tokens_in * settings.price_in + tokens_out * settings.price_out) / 1e6, 6)

    total = (int(asked["tokens_in"].sum()), int(asked["tokens_out"].sum()))
    spent = (sum(answer.tokens_in for answer in new), sum(answer.tokens_out for answer in new))
    return {
        "split": split,
        "backend": settings.backend,
        "model": settings.model,
        "users": len(frame),
        "summaries": len(frame) - frame["summary"].null_count(),
        "failed": frame["summary"].null_count(),
        "failures": dict(failures.most_common(20)),
        "new": len(new),
        "new_failed": sum(answer.summary is None for answer in new),
        "tokens_in": total[0],
        "tokens_out": total[1],
        "total_cost": cost(*total),
        "cost": cost(*spent),
        "seconds": round(seconds, 2),
    }
