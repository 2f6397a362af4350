"""The stages after training: evaluate a split, write ranked lists, show a report."""

import json
import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import torch

from gen_rec import stages
from gen_rec.config import Config
from gen_rec.data import columns as c
from gen_rec.data.interactions import Cases, Dataset
from gen_rec.embeddings.store import load_embeddings
from gen_rec.engine import Engine
from gen_rec.errors import GenRecError
from gen_rec.evaluate import evaluate_model, ranked_cases
from gen_rec.evaluation.evaluator import Evaluation
from gen_rec.evaluation.lists import write_per_user
from gen_rec.evaluation.metrics import RankedLists, as_lists, target_ranks
from gen_rec.evaluation.result import Meter, make_results, write_result
from gen_rec.histories import cut_split, open_histories
from gen_rec.popular import Popular
from gen_rec.precision import product_type
from gen_rec.recommend_job import PARTITION_ROWS, Request, beside, check_out, write_recommendations
from gen_rec.recommender import ITEMS_FILE, Recommender
from gen_rec.report import write_report
from gen_rec.retrieval import take
from gen_rec.run import Run

logger = logging.getLogger(__name__)

Split = Literal["valid", "test"]
SHOWN_USERS, SHOWN_ITEMS = 10, 5
RERANKED = "eager-reranked"


def device_of(config: Config) -> str:
    """Where work outside the training runs: the GPU where there is one and it may be used."""
    return "cuda" if torch.cuda.is_available() and not config.training.cpu else "cpu"


def load_recommender(config: Config, run: Run) -> Recommender:
    """The run's recommender with the search settings of the config, which need no training."""
    run.need(run.model / "config.json", "train")
    recommender = Recommender.from_pretrained(run.folder)
    recommender.search = config.search
    recommender.model.to(device_of(config))
    return recommender


def load_with_data(config: Config, run: Run) -> tuple[Recommender, Dataset]:
    """The run's recommender and its data, for figures and for what is learnt after the search.

    raises GenRecError where the data is not what was trained on, since a target may then have been learnt, and where
           the settings are those of another model, since a result would name them.
    """
    recommender = load_recommender(config, run)
    dataset = Dataset.load(run.need(run.data, "prepare"))
    _check_items(run, recommender.items, dataset)
    again = f"train again: gen-rec train --run {run.folder}"
    if recommender.trained_on and recommender.trained_on != dataset.fingerprint():
        raise GenRecError(
            f"{run.model} was trained on other interactions or another split than {run.data} holds; {again}"
        )
    has, asked = asdict(recommender.model.config), asdict(config.model)
    other = [f"model.{name} {has[name]!r}, now {asked[name]!r}" for name in has if has[name] != asked[name]]
    if other:
        raise GenRecError(
            f"{run.model} was trained with other settings ({', '.join(other)}); leave them out, or {again}"
        )
    return recommender, dataset


def _check_items(run: Run, items: pl.DataFrame, dataset: Dataset) -> None:
    if items[c.ITEM_ID].to_list() != dataset.items[c.ITEM_ID].to_list():
        raise GenRecError(
            f"{run.model} was trained on other items than {run.data} holds now; train again: "
            f"gen-rec train --run {run.folder}"
        )


def run_evaluate(config: Config, split: Split = "test", config_name: str = "") -> list[dict[str, Any]]:
    """Score a split and write ``metrics.json`` (``metrics_valid.json``) and the rank of every user's target.

    returns one result of the protocol for each ranking: the streams' own and the fused one.
    raises  DataError where the split holds no case.
    """
    run = Run(config.run)
    recommender, dataset = load_with_data(config, run)
    with Meter() as meter:
        evaluation = evaluate_model(recommender.model, dataset, split, config.search, config.evaluation)
    results = results_of(config, evaluation, split, config_name, meter, arithmetic=arithmetic_of(recommender))
    suffix = "" if split == "test" else f"_{split}"
    write_result(run.metrics.with_name(f"metrics{suffix}.json"), results)
    write_per_user(
        run.per_user.with_name(f"users{suffix}.parquet"),
        evaluation, dataset.cases(split), dataset.user_ids, dataset.item_ids,
    )  # fmt: skip
    return results


def results_of(
    config: Config,
    evaluation: Evaluation,
    split: Split,
    config_name: str,
    meter: Meter,
    encoder: str | None = None,
    **extra: Any,
) -> list[dict[str, Any]]:
    """Results of the protocol for an evaluation of the run, one a method.

    encoder: what read the texts; that of the run's semantic embeddings when None
    extra:   any of ``result.OPTIONAL``
    """
    run = Run(config.run)
    summary = json.loads((run.data / "summary.json").read_text(encoding="utf-8"))
    if encoder is None:
        encoder = text_encoder(run) if stages.uses_texts(config) else "none"
    return make_results(
        evaluation,
        set=str(summary.get("set") or config.data.name),
        seed=config.seed,
        split=split,
        config=config_name,
        settings=settings_of(config),
        text_encoder=encoder,
        ties="input-order" if config.data.tie_order == "input" else "shuffled",
        meter=meter,
        **extra,
    )


def arithmetic_of(recommender: Recommender) -> dict[str, str]:
    """In which type training multiplied, "" where nobody said, and in which the search does here.

    ``auto`` leaves both to the processor, so the settings alone do not tell; figures differ by a little.
    """
    weights = next(recommender.model.parameters())
    here = product_type(recommender.search.precision, weights.device) or weights.dtype
    return {"training": recommender.trained_in, "search": str(here).removeprefix("torch.")}


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


def run_recommend(
    config: Config,
    out: str,
    source: str | None = None,
    split: Split = "test",
    k: int = 10,
    filter_seen: bool = True,
    partition_rows: int = PARTITION_ROWS,
    engine: Engine | None = None,
) -> tuple[int, int]:
    """Write ranked lists for the histories of a split, or for those of ``source``, as ``open_histories`` takes it.

    out:     a file or a folder, as ``write_recommendations`` has it
    engine:  this process when None
    returns  how many rows were written, for how many histories.
    """
    run = Run(config.run)
    path = check_out(out)
    run.need(run.model / "config.json", "train")
    cut = beside(path, "input")
    try:
        if source is None:
            dataset = Dataset.load(run.need(run.data, "prepare"))
            _check_items(run, pl.read_parquet(run.model / ITEMS_FILE, columns=[c.ITEM_ID]), dataset)
            histories = cut_split(dataset, split, cut, partition_rows)
            del dataset  # what is recommended for lies on disk now
        else:
            histories = open_histories(source, cut, partition_rows)
        request = Request(run.model, config.search, k, filter_seen, partition_rows)
        rows = write_recommendations(request, histories, out, engine or Engine(device=device_of(config)))
    finally:
        shutil.rmtree(cut, ignore_errors=True)
    return rows, len(histories)


def run_report(config: Config, split: Split = "test") -> Path:
    """Write ``report.html``, with some users of the split where there is a model."""
    run = Run(config.run)
    users = None
    if (run.model / "config.json").is_file() and run.data.is_dir():
        users = sample_users(*load_with_data(config, run), split, config.seed)
    return write_report(run.folder, users)


def sample_users(recommender: Recommender, dataset: Dataset, split: Split, seed: int) -> list[dict[str, Any]]:
    """A few random users: titles of the history, the target, and of what each ranking recommends unseen.

    Where the run has the last ranking, its list too; where it has EmbSum, what that writes of the user.
    """
    cases = dataset.cases(split)
    n = min(SHOWN_USERS, len(cases))
    rows = np.sort(np.random.default_rng(seed).choice(len(cases), n, replace=False))
    titles = [title or item for title, item in zip(dataset.titles, dataset.item_ids, strict=True)]
    shown = {}
    reranked, words = second_stage(recommender, cases, rows)
    if reranked is not None:
        popular = Popular.of(dataset.train_counts())
        reranked = popular.fill({RERANKED: reranked}, cases.lengths[rows] == 0)[RERANKED]
    for batch, _, methods in ranked_cases(recommender.model, dataset, cases, rows, 20, recommender.search):
        for i, row in enumerate(batch):
            lists = {name: as_lists(each) for name, each in methods.items()}
            lists = {name: RankedLists(each.items[[i]], each.scores[[i]]) for name, each in lists.items()}
            place = int(np.searchsorted(rows, row))
            if reranked is not None:
                lists[RERANKED] = RankedLists(reranked.items[[place]], reranked.scores[[place]])
            shown[int(row)] = _user(dataset, cases, int(row), titles, lists)
            if words is not None:
                shown[int(row)]["summary"] = words[place]
    return [shown[row] for row in sorted(shown)]


def second_stage(
    recommender: Recommender, cases: Cases, rows: np.ndarray
) -> tuple[RankedLists | None, list[str] | None]:
    """For some cases the last ranking's lists, (rows, 20), and EmbSum's words; None without.

    What cannot be loaded is left out with a warning.
    """
    some, stage = take(cases, rows), recommender.second
    lists, words = None, None
    try:
        if stage.embsum is not None and stage.embsum.model.config.summary_weight:
            words = stage.embsum.summaries(some)
        if stage.has_ranking:
            full = np.flatnonzero(some.lengths)
            found = stage.rerank(recommender.model, take(some, full), 20, recommender.search, filter_seen=True)
            lists = RankedLists(np.full((len(rows), 20), -1), np.full((len(rows), 20), -np.inf))
            lists.items[full], lists.scores[full] = found.items, found.scores
    except GenRecError as error:
        logger.warning("the last ranking and EmbSum's words are left out: %s", error)
    return lists, words


def _user(
    dataset: Dataset, cases: Cases, row: int, titles: list[str], ranked: dict[str, RankedLists]
) -> dict[str, Any]:
    """ranked: lists of this user alone, (1, k)"""
    target = int(cases.target[row])
    lists, hit = {}, {}
    for name, found in ranked.items():
        lists[name] = [titles[item] for item in found.items[0, :SHOWN_ITEMS] if item >= 0]
        rank = int(target_ranks(found.items, found.scores, np.array([target]))[0])
        hit[name] = rank if rank <= found.items.shape[1] else None
    return {
        "user_id": str(dataset.user_ids[cases.user[row]]),
        "history": [titles[item] for item in cases[row]],
        "target": titles[target],
        "lists": lists,
        "hit": hit,
    }
