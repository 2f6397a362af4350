"""The last ranking on a finished run: what each part is worth, on validation (cross-fitted) and on test (once).

    python -m benchmarks.accuracy.rerank --config configs/beauty.yaml [--config OVERLAY.yaml ...] --run RUN

takes the options of ``gen-rec train``. It fits two blends, with and without EmbSum's score (one where EmbSum is not
encoded), and writes ``benchmarks/accuracy/results/<set>-<names of the configs>-rerank-seed<seed>.json``: results of

    eager-reranked                 the blend without EmbSum, which a run has by default
    eager-reranked/embsum          the blend with EmbSum
    eager-reranked/embsum-alone    EmbSum's score alone, over the candidates of the blend

with the overlays' names behind them as in ``run.py``, and under the same name ranks and, in ``evidence``, paired
bootstraps of each against ``eager-fused`` (the search alone, whose result ``run.py`` writes) and of the blends against
each other, and the reports of both fits (cross-fitted figures, each feature's worth). Times and memory are of fitting
and scoring, not of the search.
"""

import json
import sys
import tempfile
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.command import main
from benchmarks.accuracy.home import HOME, Home, method_name, refuse_other_settings, run_name
from benchmarks.accuracy.ranks import keep_ranks
from benchmarks.accuracy.run import metered
from gen_rec.commands import metrics_table
from gen_rec.config import Config
from gen_rec.data.interactions import Dataset
from gen_rec.evaluate import FUSED
from gen_rec.evaluation.evaluator import MODES, Evaluation, Evaluator
from gen_rec.evaluation.lists import write_per_user
from gen_rec.evaluation.metrics import CUTS, RankedLists
from gen_rec.evaluation.result import Meter, Result, write_result
from gen_rec.files import content_hash, write_json
from gen_rec.inference import arithmetic_of, load_with_data, results_of, settings_of
from gen_rec.popular import Popular
from gen_rec.ranking.pool import Pool
from gen_rec.ranking.reranker import Reranker, best_places
from gen_rec.ranking.stage import REPORT_FILE, embsum_scorer, fit_rerank, wants_embsum
from gen_rec.recommender import Recommender
from gen_rec.run import Run

PLAIN, FULL, EMBSUM = "eager-reranked", "eager-reranked/embsum", "eager-reranked/embsum-alone"
FEATURE = "embsum"
LENGTH = max(CUTS) + 1


def lists_of(pool: Pool, names: list[str], blends: dict[str, Reranker]) -> dict[str, dict[str, RankedLists]]:
    """mode -> method -> lists of one batch. names: the features of the pool"""
    found: dict[str, dict[str, RankedLists]] = {}
    items = pool.candidates.items
    scores = {}
    for method, reranker in blends.items():
        own = pool._replace(values=pool.values[..., [names.index(name) for name in reranker.names]])
        scores[method] = reranker.scores(own, filter_seen=False)
    if FEATURE in names:
        scores[EMBSUM] = pool.values[..., names.index(FEATURE)]
    for mode, before, allowed in zip(
        MODES, (pool.raw, pool.filtered), (pool.candidates.real, pool.candidates.unseen), strict=True
    ):
        found[mode] = {FUSED: RankedLists(before.items[:, :LENGTH], before.scores[:, :LENGTH])}
        for method, every in scores.items():
            values = np.where(allowed, every, -np.inf)
            order = best_places(values, LENGTH)
            best = np.take_along_axis(values, order, 1)
            listed = np.where(np.isfinite(best), np.take_along_axis(items, order, 1), -1)
            found[mode][method] = RankedLists(listed, best)
    return found


def evaluate(config: Config, recommender: Recommender, dataset: Dataset, blends: dict[str, Reranker]) -> Evaluation:
    """Every method on the test split, from one search."""
    cases = dataset.cases("test")
    widest = max(blends.values(), key=lambda reranker: len(reranker.names))
    scorer = embsum_scorer(Run(config.run), "test", cases) if widest.uses_embsum else None
    gatherer = widest.gatherer(recommender.model, recommender.search, scorer)
    evaluator = Evaluator(cases, dataset.train_counts(), config.evaluation)
    popular = Popular.of(dataset.train_counts())
    for pool in gatherer.pools(cases, np.arange(len(cases))):
        found, empty = lists_of(pool, widest.names, blends), cases.lengths[pool.places] == 0
        evaluator.add(pool.places, *(popular.fill(found[mode], empty) for mode in MODES))
    return evaluator.finish()


def fit(config: Config, recommender: Recommender, dataset: Dataset) -> tuple[dict[str, Reranker], dict[str, Any]]:
    """The blends, and what their reports say. The full one stays in the run; the other is fitted beside it."""
    run = Run(config.run)
    blends, reports = {}, {}
    if wants_embsum(config, run):
        blends[FULL] = fit_rerank(config, recommender, dataset)
        reports[FULL] = json.loads((run.rerank / REPORT_FILE).read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as folder:  # a view of the run with a last ranking of its own
            view = Run(folder)
            for name in ("data", "model", "embeddings"):
                (view.folder / name).symlink_to((run.folder / name).resolve())
            plain = replace(config, run=folder, rerank=replace(config.rerank, embsum="off"))
            blends[PLAIN] = fit_rerank(plain, recommender, dataset)
            reports[PLAIN] = json.loads((view.rerank / REPORT_FILE).read_text(encoding="utf-8"))
    else:
        blends[PLAIN] = fit_rerank(config, recommender, dataset)
        reports[PLAIN] = json.loads((run.rerank / REPORT_FILE).read_text(encoding="utf-8"))
    return blends, reports


def run(config: Config, names: list[str], home: Home = HOME) -> list[Result]:
    """Fit, evaluate, write.

    names: the config files
    home:  where it is written
    """
    torch.set_num_threads(1)
    name, settings, place = run_name(config, names, "rerank"), settings_of(config), Run(config.run)
    refuse_other_settings(home.result(name), settings)
    recommender, dataset = load_with_data(config, place)
    meter = Meter()
    with metered(place.folder / "rerank_cost.json", content_hash(settings), meter) as cost:
        blends, reports = fit(config, recommender, dataset)
        evaluation = evaluate(config, recommender, dataset, blends)
    pairs = [(method, FUSED) for method in evaluation.methods if method != FUSED]
    if FULL in blends:
        pairs.append((FULL, PLAIN))
    compared = {f"{a} - {b}": {mode: evaluation.compare(a, b, mode) for mode in MODES} for a, b in pairs}
    users = place.rerank / "users.parquet"
    write_per_user(users, evaluation, dataset.cases("test"), dataset.user_ids, dataset.item_ids)
    told = arithmetic_of(recommender)
    results = results_of(config, evaluation, "test", " + ".join(names), meter, arithmetic=told)
    results = [result for result in results if result["method"] != FUSED]  # the search has a result of its own
    methods = {result["method"]: method_name(result["method"], names) for result in results}
    for result in results:
        result.update(cost, method=methods[result["method"]])
    print(metrics_table(results))
    keep_ranks(users, methods, home.ranks(name))
    write_json(home.evidence(name), {"test": compared, "fits": reports})
    print(write_result(home.result(name), results))
    return results


if __name__ == "__main__":
    sys.exit(main(run))
