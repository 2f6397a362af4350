"""The stages after training: evaluate a split, write ranked lists, show a report."""

import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import torch

from gen_rec import stages
from gen_rec.config import Config
from gen_rec.data import columns as c
from gen_rec.data.interactions import Cases, Dataset
from gen_rec.embeddings.store import load_embeddings
from gen_rec.errors import DataError, GenRecError
from gen_rec.evaluate import as_methods, evaluate_model
from gen_rec.evaluation.lists import LIST_SCHEMA, write_per_user
from gen_rec.evaluation.metrics import target_ranks
from gen_rec.evaluation.result import Meter, make_results, write_result
from gen_rec.files import atomic_path
from gen_rec.recommender import Recommender
from gen_rec.report import write_report
from gen_rec.retrieval import search_cases
from gen_rec.run import Run

logger = logging.getLogger(__name__)

Split = Literal["valid", "test"]
SHOWN_USERS, SHOWN_ITEMS = 10, 5


def device_of(config: Config) -> str:
    """Where work outside the training runs: the GPU where there is one and it may be used."""
    return "cuda" if torch.cuda.is_available() and not config.training.cpu else "cpu"


def load_recommender(config: Config, run: Run) -> Recommender:
    """The run's recommender with the search settings of the config, which need no training."""
    run.need(run.model / "config.json", "train")
    recommender = Recommender.from_pretrained(run.model)
    recommender.search = config.search
    recommender.model.to(device_of(config))
    return recommender


def load_with_data(config: Config, run: Run) -> tuple[Recommender, Dataset]:
    """The run's recommender and its data. raises GenRecError where the data holds other items than were trained on."""
    recommender = load_recommender(config, run)
    dataset = Dataset.load(run.need(run.data, "prepare"))
    if recommender.items[c.ITEM_ID].to_list() != dataset.items[c.ITEM_ID].to_list():
        raise GenRecError(
            f"{run.model} was trained on other items than {run.data} holds now; train again: "
            f"gen-rec train --run {run.folder}"
        )
    return recommender, dataset


def run_evaluate(config: Config, split: Split = "test", config_name: str = "") -> list[dict[str, Any]]:
    """Score a split and write ``metrics.json`` (``metrics_valid.json``) and the rank of every user's target.

    returns one result of the protocol for each ranking: the streams' own and the fused one.
    raises  DataError where the split holds no case.
    """
    run = Run(config.run)
    recommender, dataset = load_with_data(config, run)
    with Meter() as meter:
        evaluation = evaluate_model(recommender.model, dataset, split, config.search, config.evaluation)
    summary = json.loads((run.data / "summary.json").read_text(encoding="utf-8"))
    results = make_results(
        evaluation,
        set=str(summary.get("set") or Path(str(config.data.table.interactions)).name),
        seed=config.seed,
        split=split,
        config=config_name,
        settings=settings_of(config),
        text_encoder=text_encoder(run) if stages.uses_texts(config) else "none",
        ties="shuffled" if config.data.tie_order == "shuffled" else "input-order",
        meter=meter,
    )
    suffix = "" if split == "test" else f"_{split}"
    write_result(run.metrics.with_name(f"metrics{suffix}.json"), results)
    write_per_user(
        run.per_user.with_name(f"users{suffix}.parquet"),
        evaluation, dataset.cases(split), dataset.user_ids, dataset.item_ids,
    )  # fmt: skip
    return results


def settings_of(config: Config) -> dict[str, Any]:
    """All settings as plain values, without folders of this machine, which mean nothing on another."""
    settings = asdict(config)
    del settings["run"], settings["data"]["root"]
    table, text = settings["data"]["table"], settings["embeddings"]["semantic"]
    for name in ("interactions", "items"):
        table[name] = table[name] and Path(table[name]).name
    if Path(text["model"]).is_absolute() or Path(text["model"]).is_dir():  # not a name on the hub
        text["model"] = Path(text["model"]).name
    return settings


def text_encoder(run: Run) -> str:
    """The name of the encoder that made the run's semantic embeddings; "none" where it has none."""
    if not run.embeddings("semantic").is_file():
        return "none"
    metadata = load_embeddings(run.embeddings("semantic"))[1]
    return metadata.get("encoder", "unknown").removeprefix("packaged:").split("/")[-1]


def histories_of(dataset: Dataset, split: Split) -> tuple[list[list[str]], list[str]]:
    """External histories and user ids of a split's cases. raises DataError where it has none."""
    cases, ids = dataset.cases(split), dataset.item_ids
    if not len(cases):
        raise DataError(f"the {split} split has no interaction; see data.split, or give histories (--histories)")
    return [list(ids[cases[i]]) for i in range(len(cases))], list(dataset.user_ids[cases.user])


def open_histories(path: str) -> tuple[list[list[str]], list[str]]:
    """``read_histories`` of a file, or of standard input where ``path`` is ``-``."""
    if path == "-":
        return read_histories(sys.stdin, "standard input")
    try:
        with open(path, encoding="utf-8") as file:
            return read_histories(file, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a file of histories, or -") from error


def read_histories(file: IO[str], name: str) -> tuple[list[list[str]], list[str]]:
    """Histories from text, one a line: JSON (a list of item ids, or ``{"user_id": ..., "history": [...]}``), or item
    ids between blanks. Blank lines are skipped; a user without a name is called by the number of the history, from 0.

    raises DataError with the line.
    """
    histories: list[list[str]] = []
    users: list[str] = []
    for number, line in _numbered(file, name):
        if not line.strip():
            continue
        user, history = str(len(histories)), line.split()
        if line.lstrip()[0] in "[{":
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise DataError(
                    f"{name}, line {number}: not JSON ({error.msg}); give a list of item ids, an object with "
                    '"user_id" and "history", or ids between blanks'
                ) from error
            if isinstance(value, dict):
                named, value = value.get("user_id"), value.get("history")
                user = user if named is None else str(named)
            if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
                raise DataError(
                    f'{name}, line {number}: expected a list of item ids as strings, as in ["a", "b"] or '
                    f'{{"user_id": "u", "history": ["a", "b"]}}, got {line.strip()[:80]}'
                )
            history = value
        histories.append(history)
        users.append(user)
    if not histories:
        raise DataError(f"{name}: there is no history in it; give one a line")
    return histories, users


def _numbered(file: IO[str], name: str) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        for number, line in enumerate(file, 1):
            yield number, line
    except UnicodeDecodeError as error:
        raise DataError(f"{name}, after line {number}: not UTF-8 text ({error.reason}); convert it") from error


def write_recommendations(
    recommender: Recommender,
    histories: list[list[str]],
    users: list[str],
    k: int,
    filter_seen: bool,
    out: Path,
) -> int:
    """Write ranked lists, whole or not at all, and return their rows.

    out:   ``.parquet`` has the columns of ``LIST_SCHEMA`` and is written batch by batch; ``.csv`` and ``.jsonl`` also
           have the title
    raises GenRecError for any other suffix.
    """
    if out.suffix not in (".parquet", ".csv", ".jsonl"):
        found = repr(out.suffix) if out.suffix else "no suffix"
        raise GenRecError(f"{out}: ranked lists are written as .parquet, .csv or .jsonl, got {found}; name one of them")
    frames = recommender.recommend_batches(histories, k, filter_seen, users)
    rows = 0
    with atomic_path(out) as temporary:
        if out.suffix == ".parquet":
            with pq.ParquetWriter(temporary, LIST_SCHEMA, compression="zstd") as writer:
                for frame in frames:
                    writer.write_table(frame.select(LIST_SCHEMA.names).to_arrow().cast(LIST_SCHEMA))
                    rows += len(frame)
        else:
            table = pl.concat([recommender.recommend([]), *frames])  # the first has the columns, whatever there is
            rows = len(table)
            table.write_csv(temporary) if out.suffix == ".csv" else table.write_ndjson(temporary)
    return rows


def run_report(config: Config, split: Split = "test") -> Path:
    """Write ``report.html``, with some users of the split where there is a model."""
    run = Run(config.run)
    users = None
    if (run.model / "config.json").is_file() and run.data.is_dir():
        users = sample_users(*load_with_data(config, run), split, config.seed)
    return write_report(run.folder, users)


def sample_users(recommender: Recommender, dataset: Dataset, split: Split, seed: int) -> list[dict[str, Any]]:
    """A few random users: titles of the history, the target, and of what each ranking recommends unseen."""
    cases = dataset.cases(split)
    n = min(SHOWN_USERS, len(cases))
    rows = np.sort(np.random.default_rng(seed).choice(len(cases), n, replace=False))
    titles = [title or item for title, item in zip(dataset.titles, dataset.item_ids, strict=True)]
    shown = {}
    for batch, _, found in search_cases(recommender.model, cases, rows, 20, recommender.search):
        for i, row in enumerate(batch):
            shown[int(row)] = _user(dataset, cases, int(row), titles, as_methods(found), i)
    return [shown[row] for row in sorted(shown)]


def _user(
    dataset: Dataset, cases: Cases, row: int, titles: list[str], methods: dict[str, Any], i: int
) -> dict[str, Any]:
    target = int(cases.target[row])
    lists, hit = {}, {}
    for name, found in methods.items():
        items, scores = found.items[i : i + 1].cpu().numpy(), found.scores[i : i + 1].cpu().numpy()
        lists[name] = [titles[item] for item in items[0, :SHOWN_ITEMS] if item >= 0]
        rank = int(target_ranks(items, scores, np.array([target]))[0])
        hit[name] = rank if rank <= items.shape[1] else None
    return {
        "user_id": str(dataset.user_ids[cases.user[row]]),
        "history": [titles[item] for item in cases[row]],
        "target": titles[target],
        "lists": lists,
        "hit": hit,
    }
