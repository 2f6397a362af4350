"""The stage ``rerank``: fit the last ranking once, then write new lists with every part of their scores.

<run>/rerank/  config.json, graph.safetensors, items.safetensors, blend.json, blend.txt   see ``Reranker``
               report.json   weights, cross-fitted validation figures before and after, each feature's worth, seconds
"""

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from gen_rec.config import Config
from gen_rec.data.interactions import Cases, Dataset, Sequences
from gen_rec.embeddings.store import load_embeddings
from gen_rec.errors import DataError, GenRecError
from gen_rec.evaluation.lists import lists_to_arrays, read_ranked_lists
from gen_rec.evaluation.result import Meter
from gen_rec.files import content_hash, replace_folder, write_json
from gen_rec.inference import load_with_data
from gen_rec.popular import Popular
from gen_rec.ranking.blend import REPEAT
from gen_rec.ranking.features import Floats, ItemFacts
from gen_rec.ranking.fitting import fit_blend, gather_lesson
from gen_rec.ranking.item_graph import ItemGraph
from gen_rec.ranking.lists import write_lists
from gen_rec.ranking.pool import Gatherer, PairScorer
from gen_rec.ranking.reranker import Reranked, Reranker
from gen_rec.recommender import WEIGHTS_FILE, Recommender
from gen_rec.run import Run

logger = logging.getLogger(__name__)

Split = Literal["valid", "test"]
REPORT_FILE = "report.json"


def run_rerank(
    config: Config,
    split: Split = "test",
    recs: str | None = None,
    out: str | Path | None = None,
    k: int = 10,
    filter_seen: bool = True,
    force: bool = False,
) -> tuple[int, int]:
    """Fit the last ranking where that is not done, and write a split's lists.

    recs:    a Parquet file of ranked lists, whose user ids are the run's and whose items are ranked anew; the fused
             search and the item graph give the candidates when None
    out:     a Parquet file; ``reranked.parquet`` in the run when None. It has the columns of ``LIST_SCHEMA`` and, for
             every feature, ``value_<feature>`` and ``part_<feature>``; the parts add up to the score
    k:       items a user
    filter_seen: leave out the items of the history; lists of ``recs`` keep what they name
    returns  how many rows were written, for how many users.
    raises   GenRecError and DataError: a stage that is missing, users or items that the run does not have.
    """
    run = Run(config.run)
    path = Path(out) if out is not None else run.reranked
    if path.suffix != ".parquet":
        raise GenRecError(f"{path}: reranked lists are written as Parquet; name a file that ends in .parquet")
    recommender, dataset = load_with_data(config, run)
    cases = dataset.cases(split)
    users, lists = np.arange(len(cases)), None
    if recs is not None:  # read before anything is fitted, which takes minutes
        users, lists = read_candidates(recs, dataset, cases, split)
        filter_seen = False
    reranker = fit_rerank(config, recommender, dataset, force)
    scorer = embsum_scorer(run, split, cases) if reranker.uses_embsum else None
    gatherer = reranker.gatherer(recommender.model, recommender.search, scorer, k)
    popular = Popular.of(dataset.train_counts())
    new = rerank_cases(reranker, gatherer, cases, users, k, popular, filter_seen, lists)
    rows = write_lists(path, new, reranker.names, dataset, cases)
    return rows, len(users)


def fit_rerank(config: Config, recommender: Recommender, dataset: Dataset, force: bool = False) -> Reranker:
    """The run's last ranking, fitted on the validation split where settings or inputs have changed."""
    run = Run(config.run)
    use_embsum = wants_embsum(config, run)
    key = run.stage_key(
        [asdict(config.rerank), asdict(config.search), config.seed, use_embsum], _inputs(run, use_embsum)
    )
    outputs = [*Reranker.files(run.rerank), run.rerank / REPORT_FILE]
    if not force and run.is_done("rerank", key, outputs):
        logger.info("rerank: settings and inputs have not changed, the blend is not fitted again")
        return Reranker.load(run.rerank)
    run.begin("rerank")
    with Meter() as meter:
        reranker, report = _fit(config, run, recommender, dataset, use_embsum)
    report |= {"wall_s": meter.wall_s, "cpu_s": meter.cpu_s, "peak_rss_mb": meter.peak_rss_mb}
    with replace_folder(run.rerank) as folder:
        reranker.save(folder)
        write_json(folder / REPORT_FILE, report)
    run.mark_done("rerank", key)
    report_gain(report["validation"])
    return reranker


def report_gain(validation: dict[str, Any]) -> None:
    """Log what the last ranking gains; a warning where it loses. validation: that part of the report."""
    relative = validation["gain"]["filtered"]["relative"]
    text = f"rerank: validation NDCG@10, filtered, cross-fitted: {100 * relative:+.1f} % on the search alone"
    if relative < 0:
        logger.warning(
            "%s; recommend without it, or give it more validation users to learn from than these %d",
            text,
            validation["users"],
        )
    else:
        logger.info(text)


def _fit(
    config: Config, run: Run, recommender: Recommender, dataset: Dataset, use_embsum: bool
) -> tuple[Reranker, dict[str, Any]]:
    settings, seconds = config.rerank, {}
    start = time.perf_counter()
    graph = ItemGraph.build(dataset.train_sequences(), dataset.n_items, settings.graph)
    seconds["graph"] = time.perf_counter() - start
    facts = item_facts(run, dataset)
    names, missing = feature_names(config, recommender, facts, use_embsum)
    cases = dataset.cases("valid")
    scorer = embsum_scorer(run, "valid", cases) if use_embsum else None
    start = time.perf_counter()
    gatherer = Gatherer(names, recommender.model, config.search, graph, facts, settings, scorer)
    lesson = gather_lesson(gatherer, cases, settings.fit_users, config.seed)
    seconds["candidates and features"] = time.perf_counter() - start
    blend, report, fit_seconds = fit_blend(names, lesson, settings, config.seed)
    report["left_out"] = missing
    report["settings"] = asdict(settings)
    report["seconds"] = {name: round(value, 2) for name, value in {**seconds, **fit_seconds}.items()}
    return Reranker(settings, blend, graph, facts, content_hash(run.model / WEIGHTS_FILE)), report


def item_facts(run: Run, dataset: Dataset) -> ItemFacts:
    """What the run knows of its items."""
    path = run.embeddings("semantic")
    text = load_embeddings(path, dataset.n_items)[0] if path.is_file() else None
    summary = json.loads((run.data / "summary.json").read_text(encoding="utf-8"))
    return ItemFacts.of(dataset, text, clock=summary.get("clock") == "unix")


def feature_names(
    config: Config, recommender: Recommender, facts: ItemFacts, use_embsum: bool
) -> tuple[list[str], list[str]]:
    """The features that are asked for and can be had, and those that cannot. raises GenRecError where none is left."""
    have = {
        *recommender.model.streams,
        "graph",
        "graph_last",
        *facts.names(),
        *(["embsum"] if use_embsum else []),
        REPEAT,
    }
    asked: list[str] = list(config.rerank.features)
    names = [name for name in asked if name in have]
    if not set(names) - {REPEAT}:
        raise GenRecError(
            f"none of rerank.features {config.rerank.features} can be had here; this run has {sorted(have)}"
        )
    return names, [name for name in config.rerank.features if name not in have]


def wants_embsum(config: Config, run: Run) -> bool:
    """Whether EmbSum's score is a feature. raises GenRecError where it must be and is not encoded."""
    if config.rerank.embsum == "off" or "embsum" not in config.rerank.features:
        return False
    files = _encoded(run)
    if config.rerank.embsum == "on":
        for path in files:
            run.need(path, "embsum encode")
    return all(path.is_file() for path in files)


def _encoded(run: Run) -> list[Path]:
    """What EmbSum's feature is made from on the validation split."""
    from gen_rec.embsum.encode import encoded_file, encoded_folder  # loads transformers: only where it is asked for

    return [encoded_file(encoded_folder(run), what) for what in ("items", "valid")]


def embsum_scorer(run: Run, split: Split, cases: Cases) -> PairScorer:
    """EmbSum's scores for the users of a split, from what was encoded."""
    from gen_rec.embsum.encode import encoded_folder
    from gen_rec.embsum.encoded import EncodedPairs

    pairs = EncodedPairs.load(encoded_folder(run), split, run.data)

    def score(some: Sequences, items: np.ndarray) -> Floats:
        return pairs.scores(np.searchsorted(cases.user, some.user), items)  # users of cases ascend

    return score


def _inputs(run: Run, use_embsum: bool) -> list[Path]:
    """The files that decide the blend."""
    files = [run.data / name for name in ("interactions.parquet", "items.parquet", "summary.json")]
    return [*files, *run.model.iterdir(), run.embeddings("semantic"), *(_encoded(run) if use_embsum else [])]


def read_candidates(recs: str, dataset: Dataset, cases: Cases, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """Ranked lists of a file: (n,) case of each user, in the file's order, and (n, m) its items, -1 for nothing."""
    frame = read_ranked_lists(recs)
    names = frame["user_id"].unique(maintain_order=True).to_list()
    case_of = {str(dataset.user_ids[user]): row for row, user in enumerate(cases.user)}
    unknown = [name for name in names if name not in case_of]
    if unknown:
        raise DataError(
            f"{recs}: {len(unknown)} of {len(names)} users have no case in the {split} split of this run, the first is "
            f"{unknown[0]!r}; write the lists with: gen-rec recommend --split {split}"
        )
    longest = int(frame["rank"].max()) if len(frame) else 1  # type: ignore[arg-type]
    try:
        items = lists_to_arrays(frame, names, dataset.item_ids, longest).items
    except DataError as error:
        raise DataError(f"{recs}: {error}") from error
    return np.array([case_of[name] for name in names], dtype=np.int64), items


def rerank_cases(
    reranker: Reranker, gatherer: Gatherer, cases: Cases, users: np.ndarray, k: int, popular: Popular,
    filter_seen: bool = True, lists: np.ndarray | None = None, progress: bool = True,
) -> Iterator[tuple[np.ndarray, Reranked]]:  # fmt: skip
    """New lists of some cases, in their order, ``rerank.batch_users`` at a time.

    users:   (n,) which cases
    popular: what a case without a history has, with nothing known of its features, unless ``lists`` are given
    lists:   (n, m) their candidates, searched for when None
    yields  the cases of a batch and their lists.
    """
    step = reranker.config.batch_users
    with tqdm(total=len(users), desc="rerank", unit="user", leave=False, disable=not progress) as bar:
        for start in range(0, len(users), step):
            some = users[start : start + step]
            given = None if lists is None else lists[start : start + step]
            pools = list(gatherer.pools(cases, some, given))
            parts = [reranker.rank(pool, k, filter_seen) for pool in pools]
            back = np.argsort(np.concatenate([pool.places for pool in pools]))
            found = Reranked(*(np.concatenate(columns)[back] for columns in zip(*parts, strict=True)))
            empty = cases.lengths[some] == 0
            if given is None and empty.any():
                best = popular.top(k)
                found.items[empty], found.scores[empty] = best.items, best.scores
                found.values[empty], found.parts[empty] = np.nan, np.nan
            yield some, found
            bar.update(len(some))
