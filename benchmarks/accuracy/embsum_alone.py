"""EmbSum alone on a set: prepare, train, rank the whole catalogue for the test split; for its ablations.

    python -m benchmarks.accuracy.embsum_alone --config configs/embsum/goodreads.yaml --config configs/minilm.yaml \
        [--config configs/embsum/no-grouping.yaml] [--seed 1] [--run RUN]

takes the options of ``gen-rec train``, goes on where an interrupted run stopped, and writes
``benchmarks/accuracy/results/<set>-<names of the configs>-embsum-seed<seed>.json``. The method is ``embsum``; an
overlay of ``configs/embsum`` adds its name, as in ``embsum/no-grouping``. The backbone stands where the text encoder
does. An interrupted run adds up what its parts took.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.accuracy.command import main
from benchmarks.accuracy.home import HOME, refuse_other_settings, run_name
from benchmarks.accuracy.run import metered
from gen_rec.commands import metrics_table
from gen_rec.config import Config
from gen_rec.data.interactions import Dataset
from gen_rec.embsum.catalogue import encode_cases, encode_items, gap_times, item_tokens, rank_both_ways
from gen_rec.embsum.encode import in_bfloat16, products
from gen_rec.embsum.fitting import model_folder
from gen_rec.embsum.model import EmbSum
from gen_rec.embsum.training import run_train_embsum
from gen_rec.embsum.validation import METHOD
from gen_rec.evaluation.evaluator import Evaluation, Evaluator
from gen_rec.evaluation.metrics import CUTS
from gen_rec.evaluation.result import Meter, write_result
from gen_rec.files import content_hash
from gen_rec.inference import device_of, results_of, settings_of
from gen_rec.run import Run
from gen_rec.stages import run_prepare


def evaluate(config: Config, dataset: Dataset) -> Evaluation:
    """The whole catalogue ranked for every test case, raw and filtered."""
    model = EmbSum.load(model_folder(Run(config.run))).to(device_of(config))
    cases = dataset.cases("test")
    rows, tokens = np.arange(len(cases)), item_tokens(dataset, model)
    with torch.no_grad(), products(in_bfloat16(config), device_of(config)):
        items = torch.cat(list(encode_items(model, tokens, np.arange(dataset.n_items))))
        users = torch.cat(list(encode_cases(model, tokens, cases, rows, gap_times(dataset, cases, model.config))))
    raw, filtered = rank_both_ways(model.score, users, items, cases, max(CUTS) + 1)
    evaluator = Evaluator(cases, dataset.train_counts(), config.evaluation)
    evaluator.add(rows, {METHOD: raw}, {METHOD: filtered})
    return evaluator.finish()


def run(config: Config, names: list[str]) -> None:
    """Train and evaluate, and write the result. names: the config files, the first and its overlays"""
    name, settings, place = run_name(config, names, METHOD), settings_of(config), Run(config.run)
    refuse_other_settings(HOME.result(name), settings)
    meter = Meter()
    with metered(place.folder / "embsum_cost.json", content_hash(settings), meter) as cost:
        run_prepare(config)
        run_train_embsum(config)
        dataset = Dataset.load(place.data)
        evaluation = evaluate(config, dataset)
    encoder = config.embsum.backbone.removeprefix("packaged:").split("/")[-1]
    results = results_of(config, evaluation, "test", " + ".join(names), meter, encoder)
    overlays = [
        path.stem for path in map(Path, names) if path.parent.name == "embsum" and path.stem != config.data.name
    ]
    for result in results:
        result.update(cost, method="/".join([result["method"], *overlays]))
    print(metrics_table(results))
    print(write_result(HOME.result(name), results))


if __name__ == "__main__":
    sys.exit(main(run))
