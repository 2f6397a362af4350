"""The last ranking on a finished run: what each part is worth, on validation (cross-fitted) and on test (once).

    python -m benchmarks.accuracy.rerank --config configs/beauty.yaml [--config OVERLAY.yaml ...] --run RUN

takes the options of ``gen-rec train``. It fits two blends, with and without EmbSum's score (one where EmbSum is not
encoded), and writes ``benchmarks/accuracy/results/<set>-rerank-seed<seed>.json`` (see ``run.set_label``): results of

    embsum                   EmbSum's score alone, over the candidates of the blend
    eager-reranked           the blend without EmbSum, which a run has by default
    eager-reranked/embsum    the blend with EmbSum

and ``benchmarks/accuracy/evidence`` under the same name: paired bootstraps of each against ``eager-fused`` (the search
alone, whose result ``run.py`` writes) and of the blends against each other, and the reports of both fits
(cross-fitted figures, each feature's worth). Ranks user by user are in the run, ``rerank/users.parquet``.
"""

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.accuracy.run import set_label
from gen_rec.cli import guarded, parse
from gen_rec.commands import metrics_table, values_of
from gen_rec.config import Config
from gen_rec.data.interactions import Dataset
from gen_rec.evaluate import FUSED
from gen_rec.evaluation.evaluator import MODES, Evaluation, Evaluator
from gen_rec.evaluation.lists import write_per_user
from gen_rec.evaluation.metrics import CUTS, RankedLists
from gen_rec.evaluation.result import Meter, write_result
from gen_rec.files import write_json
from gen_rec.inference import load_with_data, results_of
from gen_rec.ranking.blend import within_list
from gen_rec.ranking.features import Floats
from gen_rec.ranking.pool import Pool
from gen_rec.ranking.reranker import Reranker
from gen_rec.ranking.stage import REPORT_FILE, embsum_scorer, fit_rerank, wants_embsum
from gen_rec.recommender import Recommender
from gen_rec.run import Run

HERE = Path(__file__).parent
PLAIN, FULL, EMBSUM = "eager-reranked", "eager-reranked/embsum", "embsum"
LENGTH = max(CUTS) + 1


def top(items: np.ndarray, scores: Floats, allowed: np.ndarray) -> RankedLists:
    """The best of some candidates: (rows, c) each."""
    scores = np.where(allowed, scores, -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :LENGTH]
    best = np.take_along_axis(scores, order, 1)
    return RankedLists(np.where(np.isfinite(best), np.take_along_axis(items, order, 1), -1), best)


def lists_of(pool: Pool, names: list[str], blends: dict[str, Reranker]) -> dict[str, dict[str, RankedLists]]:
    """mode -> method -> lists of one batch."""
    found: dict[str, dict[str, RankedLists]] = {mode: {} for mode in MODES}
    items = pool.candidates.items
    scores = {}
    if EMBSUM in names:
        scores[EMBSUM] = pool.values[..., names.index(EMBSUM)]
    for method, reranker in blends.items():
        columns = [names.index(name) for name in reranker.names]
        values = pool.values[..., columns]
        scores[method] = reranker.blend.scores(values, within_list(values, pool.candidates.unseen))
    for mode, before, real in zip(
        MODES, (pool.raw, pool.filtered), (pool.candidates.real, pool.candidates.unseen), strict=True
    ):
        found[mode][FUSED] = RankedLists(before.items[:, :LENGTH], before.scores[:, :LENGTH])
        for method, values in scores.items():
            found[mode][method] = top(items, values, real)
    return found


def evaluate(config: Config, recommender: Recommender, dataset: Dataset, blends: dict[str, Reranker]) -> Evaluation:
    """Every method on the test split, from one search."""
    cases = dataset.cases("test")
    widest = max(blends.values(), key=lambda reranker: len(reranker.names))
    scorer = embsum_scorer(Run(config.run), "test", cases) if widest.uses_embsum else None
    gatherer = widest.gatherer(recommender.model, recommender.search, scorer)
    evaluator = Evaluator(cases, dataset.train_counts(), config.evaluation)
    for pool in gatherer.pools(cases, np.arange(len(cases))):
        found = lists_of(pool, widest.names, blends)
        evaluator.add(pool.places, found["raw"], found["filtered"])
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


def run(config: Config, names: list[str], home: Path = HERE) -> None:
    """Fit, evaluate, write.

    names: the config files
    home:  where the folders ``results`` and ``evidence`` are
    """
    torch.set_num_threads(1)
    place = Run(config.run)
    recommender, dataset = load_with_data(config, place)
    with Meter() as meter:
        blends, reports = fit(config, recommender, dataset)
        evaluation = evaluate(config, recommender, dataset, blends)
    results = results_of(config, evaluation, "test", " + ".join(names), meter)
    pairs = [(method, FUSED) for method in evaluation.methods if method != FUSED]
    if FULL in blends:
        pairs.append((FULL, PLAIN))
    compared = {f"{a} - {b}": {mode: evaluation.compare(a, b, mode) for mode in MODES} for a, b in pairs}
    name = f"{set_label(results[0]['set'], config)}-rerank-seed{config.seed}"
    write_per_user(
        place.rerank / "users.parquet", evaluation, dataset.cases("test"), dataset.user_ids, dataset.item_ids
    )
    print(metrics_table(results))
    own = [result for result in results if result["method"] != FUSED]  # the search has a result of its own
    print(write_result(home / "results" / f"{name}.json", own))
    write_json(home / "evidence" / f"{name}.json", {"test": compared, "fits": reports})


if __name__ == "__main__":
    arguments = sys.argv[1:]
    config, _ = parse("train", arguments)
    sys.exit(guarded(lambda: run(config, values_of("--config", arguments))))
